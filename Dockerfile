# mindvideo on a CPU: the package with its native operators, nothing else.
#   docker build -t mindvideo .
#   docker run --rm -v "$PWD:/work" mindvideo infer holiday.mp4 -c vistr --weights vistr_r50.pth --output out
FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY requirements.txt ./
RUN python -m venv /opt/mindvideo \
    && /opt/mindvideo/bin/pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY config config
COPY datas datas
COPY custom_ops custom_ops
COPY mindvideo mindvideo
ENV XDG_CACHE_HOME=/opt/cache
RUN /opt/mindvideo/bin/pip install --no-cache-dir --no-deps . \
    && cd / \
    && /opt/mindvideo/bin/mindvideo ops build

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 user
COPY --from=build /opt/mindvideo /opt/mindvideo
COPY --from=build --chown=1000:1000 /opt/cache /opt/cache
ENV PATH=/opt/mindvideo/bin:$PATH XDG_CACHE_HOME=/opt/cache
USER 1000
WORKDIR /work
ENTRYPOINT ["mindvideo"]
CMD ["--help"]
