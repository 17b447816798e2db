// The published models: which are here, which can be downloaded, and which need a person's click on another page.

const POLL = 700; // milliseconds, while one is on its way

function factsOf(model, bytes) {
  const facts = model.configuration === model.name ? [model.dataset] : [model.configuration, model.dataset];
  if (model.ap !== null) facts.push(`AP ${model.ap}`);
  if (model.size !== null) facts.push(bytes(model.size));
  return facts.join(" · ");
}

function lineOf(model, bytes) {
  if (model.here) return "here";
  if (!model.fetch) return model.by_hand ? `by hand, as ${model.file}${model.note ? ` (${model.note})` : ""}` : "";
  const { state, done, total, message } = model.fetch;
  if (state === "failed") return message;
  if (state === "waiting" || !done) return "waiting";
  return total ? `${bytes(done)} of ${bytes(total)}` : bytes(done);
}

/** Fills `list`. `tools` are those of the page: ask, element, button, bytes. `onArrived(name)` and `onChosen(model)`. */
export class Published {
  constructor(list, tools, { onArrived, onChosen }) {
    Object.assign(this, { list, tools, onArrived, onChosen });
    this.rows = new Map(); // name -> its parts
    this.underway = new Set();
    this.timer = null;
  }

  async refresh() {
    clearTimeout(this.timer);
    const models = await this.tools.ask("GET", "/api/published");
    const arrived = models.filter((model) => model.here && this.underway.has(model.name));
    this.underway = new Set(models.filter(({ fetch }) => fetch && fetch.state !== "failed").map(({ name }) => name));
    for (const model of models) this.fill(model);
    for (const model of arrived) this.onArrived(model);
    if (this.underway.size) this.timer = setTimeout(() => this.refresh().catch(() => this.again()), POLL);
  }

  again() { // the server does not answer; the page says so elsewhere
    this.timer = setTimeout(() => this.refresh().catch(() => this.again()), 5 * POLL);
  }

  make(model) {
    const { element, button, ask } = this.tools;
    const row = { item: element("li"), line: element("span", "line"), bar: element("progress") };
    row.bar.setAttribute("aria-label", `download of ${model.name}`);
    const act = (method) => ask(method, `/api/published/${encodeURIComponent(model.name)}`)
      .then(() => this.refresh())
      .catch((error) => { row.line.textContent = error.message; });
    row.use = button("Use", () => this.onChosen(model));
    row.get = button("Download", () => act("POST"));
    row.stop = button("Stop", () => act("DELETE"));
    for (const each of [row.use, row.get, row.stop]) each.setAttribute("aria-label", `${each.textContent} ${model.name}`);
    row.page = element("a", "", "Open its page");
    row.page.setAttribute("aria-label", `Open the page of ${model.name}`);
    if (model.page.startsWith("https://")) row.page.href = model.page;
    row.page.target = "_blank";
    row.page.rel = "noreferrer noopener";
    const words = element("span");
    words.append(element("b", "", model.name), element("small", "", factsOf(model, this.tools.bytes)), row.line, row.bar);
    const actions = element("span", "actions");
    actions.append(row.page, row.get, row.stop, row.use);
    row.item.title = model.paper;
    row.item.append(words, actions);
    this.list.append(row.item);
    this.rows.set(model.name, row);
    return row;
  }

  fill(model) {
    const row = this.rows.get(model.name) || this.make(model);
    const busy = Boolean(model.fetch && model.fetch.state !== "failed");
    row.item.className = model.here ? "here" : busy ? "busy" : model.fetch ? "failed" : "";
    row.line.textContent = lineOf(model, this.tools.bytes);
    row.bar.hidden = !busy;
    if (busy && model.fetch.total && model.fetch.done) {
      row.bar.max = model.fetch.total;
      row.bar.value = model.fetch.done;
    } else row.bar.removeAttribute("value");
    row.use.hidden = !model.here;
    row.get.hidden = model.here || busy || Boolean(model.by_hand);
    row.stop.hidden = !busy;
    row.page.hidden = model.here || busy || !model.by_hand;
  }
}
