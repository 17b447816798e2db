"use strict";
// One object holds what is shown; every change goes through show().
(() => {
  const FRAMES_PER_SECOND = 6;
  const byId = (id) => document.getElementById(id);
  const videos = JSON.parse(byId("video-data").textContent);
  const state = { video: 0, frame: 0, visible: [], timer: null };

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function percent(value) {
    return value === null ? "–" : Math.round(100 * value).toString();
  }

  function fillFilters() {
    const unique = (name) => [...new Set(videos.flatMap((video) => video[name]))].sort();
    for (const name of unique("classes")) byId("filter-class").append(new Option(name, name));
    for (const name of unique("kinds")) byId("filter-kind").append(new Option(name, name));
  }

  function fillList() {
    const list = byId("video-list");
    videos.forEach((video, index) => {
      const item = element("li");
      const button = element("button");
      button.type = "button";
      const picture = element("img");
      picture.src = video.prediction[0];
      picture.alt = "";
      const text = element("span", "text");
      text.append(element("b", "", video.name), element("small", "", video.kinds.join(", ") || "no error"));
      button.append(picture, text, element("span", "quality", percent(video.quality)));
      button.title = "Quality: IoU of what is right, over all there is to find or to leave out (100 is perfect)";
      button.addEventListener("click", () => open(index));
      item.append(button);
      list.append(item);
    });
  }

  function applyFilters() {
    const wantedClass = byId("filter-class").value;
    const wantedKind = byId("filter-kind").value;
    state.visible = [];
    videos.forEach((video, index) => {
      const fits = (!wantedClass || video.classes.includes(wantedClass)) && (!wantedKind || video.kinds.includes(wantedKind));
      if (fits) state.visible.push(index);
      byId("video-list").children[index].hidden = !fits;
    });
    byId("filter-count").textContent = `${state.visible.length} of ${videos.length}`;
    const any = state.visible.length > 0;
    byId("stage").hidden = !any;
    byId("nothing").hidden = any;
    if (!any) pause();
    else if (!state.visible.includes(state.video)) open(state.visible[0]);
  }

  function row(entry, text) {
    const made = element("tr", entry.right ? "right" : "wrong");
    const swatch = element("td");
    const dot = element("i", "swatch");
    dot.style.background = entry.color;
    swatch.append(dot);
    made.append(swatch, element("td", "", entry.name));
    for (const cell of text) made.append(element("td", "", cell));
    return made;
  }

  function open(index) {
    state.video = index;
    state.frame = 0;
    const video = videos[index];
    byId("video-name").textContent = video.name;
    const shown = video.frames.length < video.length ? `, ${video.frames.length} of them here` : "";
    byId("video-facts").textContent = `quality ${percent(video.quality)} · ${video.length} frames${shown}`;
    byId("scrub").max = video.frames.length - 1;
    for (const id of ["prediction", "truth"]) {
      byId(id).width = video.size[0];
      byId(id).height = video.size[1];
    }
    const overlap = (track) => (track.iou === null ? "" : `IoU ${percent(track.iou)}`);
    const tracks = video.tracks.map((track) => row(track, [track.score.toFixed(2), track.text, overlap(track)]));
    byId("tracks").replaceChildren(...(tracks.length ? tracks : [emptyRow("none above the least score")]));
    const objects = video.objects.map((object) => row(object, [object.state]));
    byId("objects").replaceChildren(...(objects.length ? objects : [emptyRow("none")]));
    [...byId("video-list").children].forEach((item, place) => {
      const current = place === index;
      item.classList.toggle("current", current);
      // Scroll the list alone, never the page.
      if (current) {
        const list = byId("video-list");
        if (item.offsetTop < list.scrollTop) list.scrollTop = item.offsetTop;
        const below = item.offsetTop + item.offsetHeight - list.clientHeight;
        if (below > list.scrollTop) list.scrollTop = below;
      }
    });
    show();
  }

  function emptyRow(text) {
    const made = element("tr");
    const cell = element("td", "note", text);
    made.append(cell);
    return made;
  }

  function show() {
    const video = videos[state.video];
    byId("prediction").src = video.prediction[state.frame];
    byId("truth").src = video.truth[state.frame];
    byId("scrub").value = state.frame;
    byId("frame-number").textContent = `frame ${video.frames[state.frame] + 1} / ${video.length}`;
  }

  function step(by) {
    const count = videos[state.video].frames.length;
    state.frame = (state.frame + by + count) % count;
    show();
  }

  function stepVideo(by) {
    const place = state.visible.indexOf(state.video);
    const next = state.visible[place + by];
    if (next !== undefined) open(next);
  }

  function pause() {
    clearInterval(state.timer);
    state.timer = null;
    byId("play").textContent = "Play";
  }

  function togglePlay() {
    if (state.timer !== null) return pause();
    state.timer = setInterval(() => step(1), 1000 / FRAMES_PER_SECOND);
    byId("play").textContent = "Pause";
  }

  const keys = {
    ArrowLeft: () => { pause(); step(-1); },
    ArrowRight: () => { pause(); step(1); },
    ArrowUp: () => stepVideo(-1),
    ArrowDown: () => stepVideo(1),
    Home: () => { pause(); state.frame = 0; show(); },
    " ": togglePlay,
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input[type=text]")) return;
    if (event.key === " " && event.target.matches("button, summary")) return;
    if (event.key === "t") return switchTheme();
    const act = videos.length && state.visible.length ? keys[event.key] : undefined;
    // Up, down and home belong to the page unless the viewer is in sight.
    if (!act || !inSight(byId("viewer"))) return;
    event.preventDefault();
    act();
  }

  function inSight(node) {
    const box = node.getBoundingClientRect();
    return box.top < window.innerHeight * 0.75 && box.bottom > window.innerHeight * 0.25;
  }

  function switchTheme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  }

  byId("theme").addEventListener("click", switchTheme);
  document.addEventListener("keydown", onKey);
  if (!videos.length) return;
  fillFilters();
  fillList();
  byId("filter-class").addEventListener("change", applyFilters);
  byId("filter-kind").addEventListener("change", applyFilters);
  byId("back").addEventListener("click", () => { pause(); step(-1); });
  byId("forward").addEventListener("click", () => { pause(); step(1); });
  byId("play").addEventListener("click", togglePlay);
  byId("scrub").addEventListener("input", () => { pause(); state.frame = Number(byId("scrub").value); show(); });
  applyFilters();
  open(0);
})();
