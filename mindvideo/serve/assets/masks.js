// Masks of a frame: run lengths (COCO's, column by column) become a map of labels, and that becomes pixels.

/** The lengths of the runs, background first, of a compressed string. */
export function runsOf(counts) {
  const runs = [];
  let place = 0;
  while (place < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const bits = counts.charCodeAt(place) - 48;
      value |= (bits & 0x1f) << shift;
      more = (bits & 0x20) !== 0;
      place += 1;
      shift += 5;
      if (!more && bits & 0x10) value |= -1 << shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/** Writes `label` where the mask is; the box around it as [x0, y0, x1, y1] (the last two exclusive), null of nothing. */
export function paint(labels, width, height, counts, label) {
  const box = [width, height, 0, 0];
  let place = 0;
  runsOf(counts).forEach((length, index) => {
    if (index % 2 === 0) {
      place += length;
      return;
    }
    const end = Math.min(place + length, width * height);
    while (place < end) {
      const x = Math.floor(place / height);
      const top = place - x * height;
      const bottom = Math.min(height, top + end - place);
      for (let y = top; y < bottom; y += 1) labels[y * width + x] = label;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], top);
      box[2] = Math.max(box[2], x + 1);
      box[3] = Math.max(box[3], bottom);
      place += bottom - top;
    }
  });
  return box[2] > box[0] ? box : null;
}

/** Colours a map of labels into RGBA pixels: tinted inside, full at the border. `colors[label]` is [r, g, b, strong].
 * Only the part `box` of them ([x0, y0, x1, y1]), outside of which there is no mask. */
export function tint(labels, width, height, colors, pixels, box) {
  const edge = Math.max(1, Math.round(Math.min(width, height) / 240));
  for (let y = box[1]; y < box[3]; y += 1) {
    for (let x = box[0]; x < box[2]; x += 1) {
      const here = y * width + x;
      const label = labels[here];
      if (!label) {
        pixels[4 * here + 3] = 0;
        continue;
      }
      const border =
        (x >= edge && labels[here - edge] !== label) || (x + edge < width && labels[here + edge] !== label) ||
        (y >= edge && labels[here - edge * width] !== label) ||
        (y + edge < height && labels[here + edge * width] !== label);
      const color = colors[label];
      pixels[4 * here] = color[0];
      pixels[4 * here + 1] = color[1];
      pixels[4 * here + 2] = color[2];
      pixels[4 * here + 3] = border ? 255 : color[3] ? 185 : 115;
    }
  }
}
