"""``python -m mindvideo``: the same as the command ``mindvideo``."""

from mindvideo.cli import main

if __name__ == "__main__":
    main()
