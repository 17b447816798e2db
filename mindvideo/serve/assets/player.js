// Plays a finished video in a canvas: the frame, and over it the tracks as they are to be seen.
import { paint, tint } from "/assets/masks.js";

const CHUNK = 64; // frames of one request
const KEPT_CHUNKS = 10;
const MIN_WIDTH = 900; // of the canvas, so that names on a small video are sharp

export class Player {
  /** `look(id)` gives {shown, color, name, chosen} of a track; `onFrame` hears which frame is seen. */
  constructor(canvas, { look, onFrame, onState, onProblem }) {
    this.canvas = canvas;
    this.look = look;
    this.onFrame = onFrame;
    this.onState = onState;
    this.onProblem = onProblem;
    this.options = { masks: true, boxes: true, names: true };
    this.frame = 0;
    this.layer = document.createElement("canvas");
    this.video = null;
  }

  /** Show a video: `base` is its address, `facts` are those of its tracks. */
  open(base, facts) {
    this.close();
    this.base = base;
    this.facts = facts;
    this.chunks = new Map();
    this.frame = 0;
    this.labels = new Int16Array(facts.width * facts.height);
    this.layer.width = facts.width;
    this.layer.height = facts.height;
    this.canvas.width = facts.width;
    this.canvas.height = facts.height;
    this.canvas.style.width = `min(100%, calc(72vh * ${facts.width / facts.height}))`;
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    video.src = `${base}/video`;
    this.video = video;
    this.scale = 0; // known when the video is
    video.addEventListener("loadeddata", () => this.measure(video));
    video.addEventListener("seeked", () => this.video === video && this.draw());
    video.addEventListener("ended", () => this.video === video && this.pause());
    video.addEventListener("error", () => this.video === video && this.onProblem("this browser cannot play the video"));
    this.canvas.after(video); // some browsers decode only what is in the page
    this.chunk(0);
  }

  close() {
    if (!this.video) return;
    this.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
    this.video = null;
  }

  measure(video) {
    if (this.video !== video) return;
    this.stored = Math.max(1, Math.round(video.videoWidth / this.facts.width)); // small frames are kept enlarged
    this.scale = Math.max(this.stored, Math.min(4, Math.ceil(MIN_WIDTH / this.facts.width)));
    this.canvas.width = this.facts.width * this.scale;
    this.canvas.height = this.facts.height * this.scale;
    this.draw();
  }

  get playing() {
    return Boolean(this.video) && !this.video.paused;
  }

  play() {
    if (this.frame >= this.facts.frames - 1) this.seek(0);
    this.video.play().then(() => this.onState(), () => this.onState());
    this.follow(this.video);
  }

  pause() {
    this.video.pause();
    this.onState();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Draw each frame that the playing video comes to. */
  follow(video) {
    const next = (now, metadata) => {
      if (this.video !== video) return;
      const seconds = metadata ? metadata.mediaTime : video.currentTime;
      this.frame = this.bounded(metadata ? Math.round(seconds * this.facts.rate) : Math.floor(seconds * this.facts.rate + 0.01));
      this.draw();
      if (!video.paused) wait();
    };
    const wait = () => {
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(next);
      else requestAnimationFrame(() => next());
    };
    wait();
  }

  seek(frame) {
    this.frame = this.bounded(frame);
    this.video.currentTime = (this.frame + 0.5) / this.facts.rate; // the middle, so that no rounding gives its neighbour
    this.onFrame(this.frame);
  }

  bounded(frame) {
    return Math.min(Math.max(frame, 0), this.facts.frames - 1);
  }

  /** The tracks of a frame, or undefined while they are on their way. */
  tracksOf(frame) {
    const chunk = this.chunk(Math.floor(frame / CHUNK));
    this.chunk(Math.floor((frame + CHUNK / 2) / CHUNK));
    return chunk.lines && chunk.lines[frame % CHUNK] ? chunk.lines[frame % CHUNK].tracks : undefined;
  }

  chunk(number) {
    const known = this.chunks.get(number);
    if (known || number * CHUNK >= this.facts.frames) return known || {};
    const chunk = {};
    this.chunks.set(number, chunk);
    if (this.chunks.size > KEPT_CHUNKS) this.chunks.delete(this.chunks.keys().next().value);
    const base = this.base;
    fetch(`${base}/frames?start=${number * CHUNK}&count=${CHUNK}`)
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.status))))
      .then((lines) => {
        chunk.lines = lines;
        if (this.base === base && this.video) this.draw();
      })
      .catch(() => {
        if (this.base !== base) return;
        this.chunks.delete(number); // asked for again with the next frame
        this.onProblem("the masks do not arrive");
      });
    return chunk;
  }

  draw() {
    const { canvas, facts, video } = this;
    if (!video || video.readyState < 2 || !this.scale) return;
    const context = canvas.getContext("2d");
    const { scale } = this;
    context.imageSmoothingEnabled = true;
    context.drawImage(video, 0, 0, facts.width * this.stored, facts.height * this.stored, 0, 0, canvas.width, canvas.height);
    this.labels.fill(0);
    this.ids = [0];
    const seen = [];
    const tracks = this.tracksOf(this.frame) || [];
    for (const track of [...tracks].sort((a, b) => a.score - b.score)) {
      const look = this.look(track.track_id);
      if (!look || !look.shown) continue;
      this.ids.push(track.track_id);
      const box = paint(this.labels, facts.width, facts.height, track.segmentation.counts, this.ids.length - 1);
      if (box) seen.push({ box, look });
    }
    if (this.options.masks && seen.length) this.drawMasks(context, seen.map(({ box }) => box));
    for (const each of seen) this.drawBox(context, scale, each);
    for (const each of seen) this.drawName(context, scale, each);
    this.onFrame(this.frame);
  }

  drawMasks(context, boxes) {
    const { width, height } = this.facts;
    const { scale } = this;
    const extreme = (side, of) => of(...boxes.map((box) => box[side]));
    const box = [extreme(0, Math.min), extreme(1, Math.min), extreme(2, Math.max), extreme(3, Math.max)];
    const [left, top, wide, high] = [box[0], box[1], box[2] - box[0], box[3] - box[1]];
    const layer = this.layer.getContext("2d");
    this.picture = this.picture && this.picture.width === width && this.picture.height === height
      ? this.picture : layer.createImageData(width, height);
    const colors = this.ids.map((id) => (id ? [...rgbOf(this.look(id).color), this.look(id).chosen] : [0, 0, 0, false]));
    tint(this.labels, width, height, colors, this.picture.data, box);
    layer.putImageData(this.picture, 0, 0, left, top, wide, high);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.layer, left, top, wide, high, left * scale, top * scale, wide * scale, high * scale);
  }

  drawBox(context, scale, { box, look }) {
    if (!this.options.boxes && !look.chosen) return;
    context.strokeStyle = look.color;
    context.lineWidth = (look.chosen ? 2 : 1) * Math.max(1, Math.round(Math.min(this.canvas.width, this.canvas.height) / 240));
    context.strokeRect(box[0] * scale, box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
  }

  drawName(context, scale, { box, look }) {
    if (!this.options.names) return;
    const size = Math.max(11, Math.round(Math.min(this.canvas.width, this.canvas.height) / 26));
    context.font = `600 ${size}px system-ui, sans-serif`;
    const width = context.measureText(look.name).width + size * 0.7;
    const height = size * 1.4;
    const x = Math.max(0, Math.min(box[0] * scale, this.canvas.width - width));
    const y = box[1] * scale >= height ? box[1] * scale - height : Math.min(box[1] * scale, this.canvas.height - height);
    context.fillStyle = look.color;
    context.fillRect(x, y, width, height);
    const [red, green, blue] = rgbOf(look.color);
    context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#000" : "#fff";
    context.textBaseline = "middle";
    context.fillText(look.name, x + size * 0.35, y + height / 2);
  }

  /** The track under a point of the canvas as the page shows it; 0: none. */
  trackAt(clientX, clientY) {
    const place = this.canvas.getBoundingClientRect();
    const x = Math.floor(((clientX - place.left) / place.width) * this.facts.width);
    const y = Math.floor(((clientY - place.top) / place.height) * this.facts.height);
    if (x < 0 || y < 0 || x >= this.facts.width || y >= this.facts.height) return 0;
    return this.ids ? this.ids[this.labels[y * this.facts.width + x]] : 0;
  }
}

function rgbOf(color) {
  return [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
}
