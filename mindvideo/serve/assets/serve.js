// The page of mindvideo serve. Names that come from files reach the page as text only (textContent, value).
import { Player } from "/assets/player.js";
import { Published } from "/assets/published.js";

const byId = (id) => document.getElementById(id);
const state = { choices: null, jobs: [], files: [], opened: null, facts: null, edits: null, chosen: 0, sending: false };
const rows = new Map(); // job id -> its list item
const trackRows = new Map(); // track id -> its list item

async function ask(method, address, body) {
  const options = { method, headers: { "X-Mindvideo": "page" } };
  if (body !== undefined) options.body = JSON.stringify(body);
  const answer = await fetch(address, options);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error || `the server answers ${answer.status}`);
  return content;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, act) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function say(id, line, bad = false) {
  const status = byId(id);
  status.textContent = line;
  status.classList.toggle("bad", bad);
}

// --- a new video ---------------------------------------------------------------------------------------------------

function bytes(size) {
  return size < 1e6 ? `${Math.ceil(size / 1e3)} kB` : `${(size / 1e6).toFixed(size < 1e8 ? 1 : 0)} MB`;
}

function choose(files) {
  // A folder may hold what the system put there; hidden files are nobody's frames.
  const given = files.filter(({ name }) => !name.split("/").some((part) => part.startsWith(".")));
  const total = given.reduce((sum, { file }) => sum + file.size, 0);
  const limits = state.choices ? state.choices.limits : { upload_bytes: Infinity, files: Infinity };
  state.files = [];
  byId("chosen").classList.toggle("given", given.length > 0);
  if (!given.length) byId("chosen").textContent = "There is no file in it";
  else byId("chosen").textContent = given.length === 1 ? `${given[0].file.name} (${bytes(total)})` : `${given.length} files (${bytes(total)})`;
  if (total > limits.upload_bytes) say("form-status", `${bytes(total)} are too much: at most ${bytes(limits.upload_bytes)} are taken`, true);
  else if (given.length > limits.files) say("form-status", `${given.length} files are too many: at most ${limits.files} make a video`, true);
  else {
    state.files = given;
    say("form-status", "");
  }
  enableStart();
}

function enableStart() {
  byId("start").disabled = state.sending || !state.files.length || !byId("weights").value;
}

async function filesOfEntry(entry, path = "") {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: path + file.name }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives at most 100 at a time
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found;
    for (const child of part) found.push(...(await filesOfEntry(child, `${path}${entry.name}/`)));
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const files = entries.length
    ? (await Promise.all(entries.map((entry) => filesOfEntry(entry)))).flat()
    : [...transfer.files].map((file) => ({ file, name: file.name }));
  choose(files);
}

/** One file of an upload; XMLHttpRequest, because fetch does not tell how much has been sent. */
function send(upload, { file, name }, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `/api/uploads/${upload}?name=${encodeURIComponent(name)}`);
    request.setRequestHeader("X-Mindvideo", "page");
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () => {
      if (request.status === 200) return resolve();
      let line = `the server answers ${request.status}`;
      try { line = JSON.parse(request.responseText).error; } catch { /* not one of our answers: the number has to do */ }
      return reject(new Error(line));
    });
    request.addEventListener("error", () => reject(new Error("the upload broke off; is the server still there?")));
    request.send(file);
  });
}

async function start(event) {
  event.preventDefault();
  if (state.sending || !state.files.length) return;
  state.sending = true;
  enableStart();
  const total = state.files.reduce((sum, { file }) => sum + file.size, 0);
  const bar = byId("sent");
  bar.hidden = false;
  say("form-status", "sending");
  let upload = null;
  try {
    upload = (await ask("POST", "/api/uploads")).upload;
    let before = 0;
    for (const each of state.files) {
      await send(upload, each, (loaded) => { bar.value = Math.min(1, (before + loaded) / total); });
      before += each.file.size;
    }
    const [weights, configuration] = [byId("weights").value, byId("configuration").value];
    await ask("POST", "/api/jobs", { upload, weights, configuration, confidence: Number(byId("confidence").value) });
    upload = null;
    say("form-status", "sent: it is in the list below");
    clearChosen();
  } catch (error) {
    say("form-status", error.message, true);
    if (upload) ask("DELETE", `/api/uploads/${upload}`).catch(() => {});
  }
  state.sending = false;
  bar.hidden = true;
  bar.value = 0;
  enableStart();
  refresh();
}

function clearChosen() {
  state.files = [];
  byId("pick-file").value = "";
  byId("pick-folder").value = "";
  byId("chosen").classList.remove("given");
  byId("chosen").textContent = "Drop a video here, or pictures, a folder of frames, or a zip of them";
}

async function fillChoices() {
  const before = { weights: byId("weights").value, configurations: byId("configuration").value };
  state.choices = await ask("GET", "/api/state");
  for (const kind of ["weights", "configurations"]) {
    const select = byId(kind === "weights" ? "weights" : "configuration");
    select.replaceChildren(...state.choices[kind].map((each) => new Option(each.name, each.name)));
    if (state.choices[kind].some((each) => each.name === before[kind])) select.value = before[kind];
  }
  if (!state.choices.weights.length) {
    say("form-status", "No weights are found: download a published model, or start the server with --weights FILE or --models DIR", true);
    byId("published-models").open = true;
  }
  if (byId("weights").value !== before.weights) followWeights();
  enableStart();
}

async function choosePublished(model) {
  await fillChoices();
  if (!state.choices.weights.some((each) => each.name === model.name)) return;
  byId("weights").value = model.name;
  followWeights();
  say("form-status", `${model.name} is chosen`);
}

function showPublished() {
  if (!byId("published-models").open) return;
  published.refresh().catch((error) => say("form-status", error.message, true));
}

const published = new Published(byId("published"), { ask, element, button, bytes }, {
  onArrived: (model) => choosePublished(model).catch((error) => say("form-status", error.message, true)),
  onChosen: (model) => choosePublished(model).catch((error) => say("form-status", error.message, true)),
});

function followWeights() {
  const weights = state.choices.weights.find((each) => each.name === byId("weights").value);
  if (weights && weights.configuration) byId("configuration").value = weights.configuration;
  noteConfiguration();
  enableStart();
}

function noteConfiguration() {
  const chosen = state.choices.configurations.find((each) => each.name === byId("configuration").value);
  byId("configuration-note").textContent = chosen ? chosen.note : "";
}

// --- the list of videos --------------------------------------------------------------------------------------------

function lineOf(job) {
  const tracks = job.num_tracks === 1 ? "1 track" : `${job.num_tracks} tracks`;
  const frames = job.total ? `frame ${job.frames} of ${job.total}` : `frame ${job.frames}`;
  return {
    waiting: "waiting",
    running: job.message || frames,
    done: `${tracks} with a score of at least ${job.confidence.toFixed(2)}, ${job.frames} frames in ${job.seconds.toFixed(job.seconds < 10 ? 1 : 0)} s${job.message ? `; ${job.message}` : ""}`,
    failed: job.message,
    stopped: "stopped",
  }[job.state];
}

function makeRow(job) {
  const item = element("li");
  const row = { item, thumb: element("span", "thumb"), name: element("b"), model: element("small"), line: element("span", "line") };
  row.bar = element("progress");
  row.bar.setAttribute("aria-label", `progress of ${job.name}`);
  row.actions = element("span", "actions");
  row.act = (method, address) => ask(method, address).then(refresh, (error) => { row.line.textContent = error.message; });
  row.buttons = {
    open: button("Open", () => open(job.id)),
    stop: button("Stop", () => row.act("POST", `/api/jobs/${job.id}/stop`)),
    again: button("Again", () => row.act("POST", `/api/jobs/${job.id}/again`)),
    remove: button("Remove", () => row.act("DELETE", `/api/jobs/${job.id}`)),
  };
  for (const [name, each] of Object.entries(row.buttons)) each.setAttribute("aria-label", `${name} ${job.name}`);
  row.actions.append(...Object.values(row.buttons));
  const words = element("span");
  words.append(row.name, row.model, row.line, row.bar);
  item.append(row.thumb, words, row.actions);
  return row;
}

function fillRow(row, job) {
  row.item.className = `${job.state}${state.opened === job.id ? " current" : ""}`;
  row.name.textContent = job.name;
  row.model.textContent = `${job.configuration} · ${job.weights}`;
  const line = lineOf(job);
  if (row.line.textContent !== line) row.line.textContent = line;
  const running = job.state === "running";
  row.bar.hidden = !running;
  if (job.total && job.frames) {
    row.bar.max = job.total;
    row.bar.value = job.frames;
  } else row.bar.removeAttribute("value");
  row.buttons.open.hidden = job.state !== "done";
  row.buttons.stop.hidden = !running && job.state !== "waiting";
  row.buttons.again.hidden = job.state !== "failed" && job.state !== "stopped";
  row.buttons.remove.hidden = running;
  const version = job.has_preview ? `${job.begun}-${job.frames}` : "";
  if (row.version !== version) {
    row.version = version;
    if (!version) return row.thumb.replaceChildren();
    const picture = row.thumb.firstChild || row.thumb.appendChild(element("img"));
    picture.alt = "";
    picture.src = `/api/jobs/${job.id}/preview?version=${version}`;
  }
  return undefined;
}

function showJobs(jobs) {
  state.jobs = jobs;
  byId("no-jobs").hidden = jobs.length > 0;
  const newestFirst = [...jobs].reverse();
  newestFirst.forEach((job, place) => {
    if (!rows.has(job.id)) rows.set(job.id, makeRow(job));
    const row = rows.get(job.id);
    fillRow(row, job);
    const list = byId("jobs");
    if (list.children[place] !== row.item) list.insertBefore(row.item, list.children[place] || null);
  });
  for (const [id, row] of rows) {
    if (jobs.some((job) => job.id === id)) continue;
    row.item.remove();
    rows.delete(id);
    if (state.opened === id) closeViewer();
  }
}

let timer = null;
async function refresh() {
  clearTimeout(timer);
  try {
    showJobs(await ask("GET", "/api/jobs"));
    byId("lost").hidden = true;
  } catch {
    byId("lost").hidden = false;
  }
  const busy = state.jobs.some((job) => job.state === "running" || job.state === "waiting");
  timer = setTimeout(refresh, document.hidden ? 10000 : busy ? 700 : 4000);
}

// --- the player ----------------------------------------------------------------------------------------------------

const player = new Player(byId("canvas"), { look: lookOf, onFrame: showFrame, onState: showState, onProblem: (line) => say("viewer-status", line, true) });

function isShown(track) {
  const hidden = state.edits.hidden[track.id];
  return track.score >= state.edits.confidence && !(hidden === undefined ? track.covered : hidden);
}

function nameOf(track) {
  return state.edits.names[track.id] || track.class;
}

function colorOf(track) {
  return state.edits.colors[track.id] || track.color;
}

function lookOf(id) {
  const track = state.byTrack.get(id);
  return track && { shown: isShown(track), color: colorOf(track), name: nameOf(track), chosen: state.chosen === id };
}

async function open(id) {
  try {
    const facts = await ask("GET", `/api/jobs/${id}/tracks`);
    state.opened = id;
    state.facts = facts;
    state.edits = facts.edits;
    state.byTrack = new Map(facts.tracks.map((track) => [track.id, track]));
    state.chosen = 0;
  } catch (error) {
    return byId("lost").hidden && rows.get(id) ? void (rows.get(id).line.textContent = error.message) : undefined;
  }
  const job = state.jobs.find((each) => each.id === id);
  const { width, height, frames, rate } = state.facts;
  byId("video-name").textContent = job.name;
  byId("video-facts").textContent = `${width}×${height}, ${frames} frames, ${rate.toFixed(rate % 1 ? 2 : 0)} a second`;
  byId("scrub").max = frames - 1;
  byId("threshold").value = state.edits.confidence;
  say("viewer-status", "");
  byId("viewer").hidden = false;
  fillTracks();
  player.open(`/api/jobs/${id}`, state.facts);
  showFrame(0);
  showJobs(state.jobs);
  byId("viewer").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  byId("viewer").focus({ preventScroll: true });
  return undefined;
}

function closeViewer() {
  player.close();
  state.opened = null;
  byId("viewer").hidden = true;
}

function showFrame(frame) {
  byId("scrub").value = frame;
  byId("frame-number").textContent = `frame ${frame + 1} / ${state.facts.frames}`;
  byId("scrub").setAttribute("aria-valuetext", `frame ${frame + 1} of ${state.facts.frames}`);
}

function showState() {
  byId("play").textContent = player.playing ? "Pause" : "Play";
}

function makeTrackRow(track) {
  const item = element("li");
  const row = { item, shown: element("input"), color: element("input"), name: element("input"), score: element("span", "score", track.score.toFixed(2)) };
  row.shown.type = "checkbox";
  row.color.type = "color";
  row.name.type = "text";
  row.name.maxLength = 80;
  row.name.placeholder = track.class;
  const life = element("span", "life");
  row.bar = element("i");
  row.bar.style.left = `${(100 * track.first) / state.facts.frames}%`;
  row.bar.style.width = `${(100 * (track.last - track.first + 1)) / state.facts.frames}%`;
  life.append(row.bar);
  life.title = `frames ${track.first + 1} to ${track.last + 1}, seen in ${track.seen}`;
  const words = `#${track.id} ${track.class} · frames ${track.first + 1}–${track.last + 1}${track.covered ? " · on a surer track" : ""}`;
  row.shown.setAttribute("aria-label", `show track ${track.id}, ${track.class}`);
  row.color.setAttribute("aria-label", `colour of track ${track.id}`);
  row.name.setAttribute("aria-label", `name of track ${track.id}`);
  item.append(row.shown, row.color, row.name, row.score, life, element("small", "", words));
  row.shown.addEventListener("change", () => edit(() => { state.edits.hidden[track.id] = !row.shown.checked; }));
  row.color.addEventListener("input", () => edit(() => { state.edits.colors[track.id] = row.color.value; }));
  row.name.addEventListener("input", () => edit(() => {
    if (row.name.value.trim()) state.edits.names[track.id] = row.name.value;
    else delete state.edits.names[track.id];
  }));
  item.addEventListener("pointerenter", () => choseTrack(track.id));
  item.addEventListener("focusin", () => choseTrack(track.id));
  return row;
}

function choseTrack(id) {
  if (state.chosen === id) return;
  state.chosen = id;
  for (const [track, row] of trackRows) row.item.classList.toggle("chosen-track", track === id);
  player.draw();
}

function fillTracks() {
  trackRows.clear();
  for (const track of state.facts.tracks) trackRows.set(track.id, makeTrackRow(track));
  byId("tracks").replaceChildren(...[...trackRows.values()].map((row) => row.item));
  for (const [id, row] of trackRows) row.name.value = state.edits.names[id] || "";
  showTracks();
}

function showTracks() {
  let shown = 0;
  let sure = 0;
  for (const [id, row] of trackRows) {
    const track = state.byTrack.get(id);
    row.item.hidden = track.score < state.edits.confidence;
    row.shown.checked = isShown(track);
    row.color.value = colorOf(track);
    row.bar.style.background = colorOf(track);
    row.item.classList.toggle("away", !row.shown.checked);
    sure += row.item.hidden ? 0 : 1;
    shown += row.shown.checked ? 1 : 0;
  }
  byId("threshold-value").textContent = state.edits.confidence.toFixed(2);
  byId("track-count").textContent = state.facts.tracks.length
    ? `${shown} shown of ${sure} with at least this score; ${state.facts.tracks.length} in all` : "Nothing was found in this video.";
}

let saving = null;
let unsaved = false;
function edit(change) {
  change();
  showTracks();
  player.draw();
  unsaved = true;
  clearTimeout(saving);
  saving = setTimeout(() => save().catch(() => {}), 400);
}

async function save() {
  clearTimeout(saving);
  if (!unsaved || !state.opened) return;
  unsaved = false;
  try {
    await ask("PUT", `/api/jobs/${state.opened}/edits`, state.edits);
  } catch (error) {
    unsaved = true;
    say("viewer-status", `not kept: ${error.message}`, true);
    throw error;
  }
}

async function download(kind, pressed) {
  pressed.disabled = true;
  say("viewer-status", kind === "video" ? "drawing the video" : "writing the file");
  try {
    await save();
    const { address } = await ask("POST", `/api/jobs/${state.opened}/downloads/${kind}`);
    const link = element("a");
    link.href = address;
    link.download = "";
    link.click();
    say("viewer-status", "ready: the browser keeps it");
  } catch (error) {
    say("viewer-status", error.message, true);
  }
  pressed.disabled = false;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("viewer").hidden) return;
  const at = event.target;
  if (at.matches("select, input[type=text], input[type=range], input[type=color]")) return;
  if (event.key === " " && at.matches("button, summary, input")) return;
  const acts = {
    " ": () => player.toggle(),
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    Home: () => { player.pause(); player.seek(0); },
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

function step(by) {
  player.pause();
  player.seek(player.frame + by);
}

function all(hidden) {
  edit(() => {
    for (const track of state.facts.tracks) {
      if (track.score >= state.edits.confidence) state.edits.hidden[track.id] = hidden;
    }
  });
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

function listen() {
  const drop = byId("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    dropped(event.dataTransfer).catch((error) => say("form-status", error.message, true));
  });
  for (const id of ["pick-file", "pick-folder"]) {
    byId(id).addEventListener("change", () => {
      choose([...byId(id).files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
    });
  }
  byId("form").addEventListener("submit", start);
  byId("published-models").addEventListener("toggle", showPublished);
  byId("weights").addEventListener("change", followWeights);
  byId("configuration").addEventListener("change", noteConfiguration);
  byId("confidence").addEventListener("input", () => { byId("confidence-value").textContent = Number(byId("confidence").value).toFixed(2); });
  byId("theme").addEventListener("click", switchTheme);
  byId("play").addEventListener("click", () => player.toggle());
  byId("back").addEventListener("click", () => step(-1));
  byId("forward").addEventListener("click", () => step(1));
  byId("scrub").addEventListener("input", () => { player.pause(); player.seek(Number(byId("scrub").value)); });
  byId("threshold").addEventListener("input", () => edit(() => { state.edits.confidence = Number(byId("threshold").value); }));
  for (const kind of ["masks", "boxes", "names"]) {
    byId(`show-${kind}`).addEventListener("change", (event) => { player.options[kind] = event.target.checked; player.draw(); });
  }
  byId("show-all").addEventListener("click", () => all(false));
  byId("hide-all").addEventListener("click", () => all(true));
  byId("forget").addEventListener("click", () => {
    edit(() => { state.edits = { ...state.edits, hidden: {}, names: {}, colors: {} }; });
    for (const row of trackRows.values()) row.name.value = "";
  });
  byId("tracks").addEventListener("pointerleave", () => choseTrack(0));
  byId("canvas").addEventListener("click", (event) => {
    const track = player.trackAt(event.clientX, event.clientY);
    choseTrack(track);
    if (track) trackRows.get(track).name.focus();
  });
  for (const pressed of document.querySelectorAll("[data-kind]")) {
    pressed.addEventListener("click", () => download(pressed.dataset.kind, pressed));
  }
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", refresh);
}

listen();
fillChoices().catch((error) => say("form-status", error.message, true));
refresh();
