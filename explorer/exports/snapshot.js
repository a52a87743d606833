// Draws what the address names after "#": a head, and the row that is kept. Every pick writes the address, so
// that a link can point at it and Back undoes it. A module: its names are none of those of Vega's script.

const at = (id) => document.getElementById(id);

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const unpacked = (id) => new Response(
  new Blob([bytesOf(at(id).textContent)]).stream().pipeThrough(new DecompressionStream("gzip")),
).text();
const ARRAYS = { float32: Float32Array, float64: Float64Array };
const columnOf = (found) => {
  if (Array.isArray(found)) return found;
  const [[type, text]] = Object.entries(found);
  return Array.from(new ARRAYS[type](bytesOf(text).buffer), (value) => (Number.isNaN(value) ? null : value));
};
const piece = async (id) => {
  const found = JSON.parse(await unpacked(id));
  return { ...found, columns: found.columns.map(columnOf) };
};

// A table is columns by name, of which each is the number of one.
const rowsOf = (table, columns) => {
  const names = Object.keys(table), values = names.map((name) => columns[table[name]]);
  return values[0].map((_, row) => Object.fromEntries(names.map((name, index) => [name, values[index][row]])));
};
const allRowsOf = (tables, columns) =>
  Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, rowsOf(table, columns)]));

const darkness = matchMedia("(prefers-color-scheme: dark)");
const paper = () => getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();

// A chart keeps its view: another head only replaces its tables.
class Chart {
  constructor(place, spec, listeners = {}) {
    this.place = place;
    this.spec = spec;
    this.listeners = listeners;
  }

  async draw(tables, words) {
    const first = !this.view;
    if (first) {
      const spec = { ...this.spec, datasets: tables, background: paper() };
      ({ view: this.view } = await vegaEmbed(this.place, spec, { actions: false, renderer: "svg" }));
      for (const [signal, hear] of Object.entries(this.listeners)) {
        this.view.addSignalListener(signal, (_, point) => hear(point));
      }
      darkness.addEventListener("change", () => this.view.signal("background", paper()).runAsync());
      addEventListener("resize", () => this.lay());
    } else {
      for (const [name, rows] of Object.entries(tables)) this.view.data(name, rows);
    }
    this.view.description(words);
    await (first ? this.lay() : this.view.runAsync());
  }

  // Each layout takes the room of the labels from the one before: the third is that of all after it.
  async lay() {
    for (let more = 0; more < 2; more += 1) await this.view.resize().runAsync();
  }
}

const strongest = (values, first, count) => {
  let key = 0;
  for (let other = 1; other < count; other += 1) {
    if (Math.abs(values[first + other]) > Math.abs(values[first + key])) key = other;
  }
  return key;
};

const start = async () => {
  (0, eval)(await unpacked("vega"));
  const [page, { columns: shared }] = await Promise.all([piece("page"), piece("shared")]);
  const map = allRowsOf(page.mapTables, page.columns);
  const layers = {};
  const layerOf = (number) => (layers[number] ??= piece(`layer-${number}`));

  // What is picked

  let picked = page.start;  // the next key may come before this is drawn
  const isHere = ({ layer }) => at(`layer-${layer}`) !== null;
  const inMap = (pick) => map.heads.find((each) =>
    ["layer", "kind", "head"].every((name) => each[name] === pick[name]));
  const named = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!given.has("layer")) return page.start;
    const number = (name) => (/^\d{1,9}$/.test(given.get(name) ?? "") ? Number(given.get(name)) : null);
    return { layer: number("layer"), kind: given.get("kind") ?? page.usual, head: number("head") ?? 0,
      query: number("query") };
  };
  const pick = (wanted) => {
    picked = wanted;
    const { layer, kind, head, query } = wanted;
    const words = new URLSearchParams({ layer, head });
    if (kind !== page.usual) words.set("kind", kind);
    if (query !== null) words.set("query", query);
    location.hash = words;
  };
  const tell = (words) => { at("told").textContent = words; };
  const pickHead = ({ layer, kind, head }) => {
    const wanted = { layer: layer?.[0], kind: kind?.[0], head: head?.[0] };
    if (!inMap(wanted)) return;
    if (isHere(wanted)) pick({ ...wanted, query: picked.query });
    else tell(`Layer ${wanted.layer} is not in this page. ${page.leftOut}`);
  };
  const pickRow = ({ i }) => {
    const query = i?.[0];
    if (!(query >= 0)) return;
    pick({ ...picked, query: query === picked.query ? null : query });
  };

  // What is drawn

  let rows = [];  // of the drawn head
  const isKept = (query) => query !== null && query < rows.at(-1).stop;
  const rowOf = (query) => (isKept(query) ? rows.findLastIndex(({ i }) => i <= query) : rows.length - 1);
  const heads = new Chart(at("map"), page.map, { head: pickHead });
  const curves = page.decay && new Chart(at("decay"), page.decay);
  const panels = {};
  const panelsOf = (kind) => {
    if (!panels[kind]) {
      const place = document.createElement("div");
      at("panels").append(place);
      panels[kind] = new Chart(place, page.kinds[kind].panels, { query: pickRow });
    }
    const wasHidden = panels[kind].place.hidden;
    for (const [each, { place }] of Object.entries(panels)) place.hidden = each !== kind;
    if (wasHidden) dispatchEvent(new Event("resize"));  // the window may have another width since
    return panels[kind];
  };

  const show = async () => {
    let wanted = named();
    tell("");
    if (!inMap(wanted) || !isHere(wanted)) {
      tell(inMap(wanted) ? `Layer ${wanted.layer} is not in this page. ${page.leftOut}`
        : "The address names a head that this page does not have. It shows the first one instead.");
      wanted = page.start;
    }
    picked = wanted;
    const { kind } = wanted, layer = await layerOf(wanted.layer);
    const head = layer.heads[kind][wanted.head], columns = [...shared, ...layer.columns];
    const tables = allRowsOf(head.panels, columns);
    rows = tables.queries;
    const row = rowOf(wanted.query);
    const attention = columns[head.panels.cells.attention];
    const [scene] = tables.scene, { before, reach } = rows[row];
    Object.assign(scene, { kept_row: row, kept_key: strongest(attention, before, reach) });
    const which = isKept(wanted.query) ? `Row ${wanted.query.toLocaleString("en-US")}, kept.` : "The last row.";
    const words = columns[head.words][row];

    at("name").textContent = head.name[0].toUpperCase() + head.name.slice(1);
    at("look-for").textContent = head.lookFor;
    at("row").textContent = which;
    at("words").textContent = words;
    at("how-to-read").textContent = page.kinds[kind].howToRead;
    at("layer").textContent = wanted.layer;
    at("program").textContent = page.kinds[kind].program
      .map((line, number) => head.program[number] ?? line).join("\n");
    document.querySelector("main").hidden = false;
    const { row: line, head: index } = inMap(wanted);
    await heads.draw({ ...map, picked: [{ row: line, head: index }] }, `${page.mapWords} Picked: ${head.name}.`);
    await panelsOf(kind).draw(tables, `${which} ${words}`);
    at("memory").hidden = !head.decay;
    if (head.decay) {
      const survival = allRowsOf(head.decay, columns);
      await curves.draw(survival, `Survival of the first token over the tokens after it, for every head of layer ${
        wanted.layer}. Head ${wanted.head} in front, ${survival.scene[0].name}.`);
    }
  };

  // One after the other: a view cannot take the tables of two heads at once.
  let drawn = show();
  addEventListener("hashchange", () => { drawn = drawn.then(show); });

  // Keys: layers down and heads across in the map, from row to row in the panels

  const onKey = (id, moves) => at(id).addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  const moveHead = (down, right) => {
    const lines = [...new Set(map.heads.filter(isHere).map((each) => each.row))].sort((one, other) => one - other);
    const line = lines[Math.min(Math.max(lines.indexOf(inMap(picked).row) + down, 0), lines.length - 1)];
    const there = map.heads.filter((each) => each.row === line);
    const { layer, kind, head } = there[Math.min(Math.max(picked.head + right, 0), there.length - 1)];
    pick({ layer, kind, head, query: picked.query });
  };
  const moveRow = (down) => {
    const row = Math.min(Math.max(rowOf(picked.query) + down, 0), rows.length - 1);
    pick({ ...picked, query: rows[row].i });
  };
  onKey("map", {
    ArrowUp: () => moveHead(-1, 0),
    ArrowDown: () => moveHead(1, 0),
    ArrowLeft: () => moveHead(0, -1),
    ArrowRight: () => moveHead(0, 1),
  });
  onKey("panels", {
    ArrowUp: () => moveRow(-1),
    ArrowDown: () => moveRow(1),
    Escape: () => pick({ ...picked, query: null }),
  });
  await drawn;
};

start().catch((error) => {
  at("told").textContent = `This page cannot be drawn here: ${error.message}. It needs a browser of 2023 or newer.`;
  throw error;
});
