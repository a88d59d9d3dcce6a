// ---- galleries: one for each cluster, its ends first, the rest folded and built in steps ----
const STEP_IMAGES = 300;  // images of a folded list that are built at a time
const holder = $("clusters"), places = new Map(), folded = new Map();  // image -> its list items; image -> what unfolds it
let hits = null, onlyCopies = false, only = null;  // the images that the search matches, the filter, the cluster under the pointer
const matches = image => (!hits || hits.has(image)) && (!onlyCopies || image.copy);
const highlighted = image => matches(image) && (only === null || only === image.cluster);

function thumbnail(image) {
  const button = el("button", null, { type: "button", title: image.file });
  button.append(el("img", null, { src: source(image), alt: image.file, loading: "lazy", width: 72, height: 72 }));
  button.addEventListener("click", () => enlarge(image));
  return button;
}
function withArrowKeys(ul) {  // a gallery is one stop of the Tab key; arrow keys move from image to image
  ul.querySelectorAll("button").forEach((button, i) => { button.tabIndex = i ? -1 : 0; });
  if (!ul.dataset.keys) ul.addEventListener("keydown", event => {
    const buttons = [...ul.querySelectorAll("button")];
    const to = buttons[buttons.indexOf(event.target) + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] || NaN)];
    if (to) { event.preventDefault(); to.focus(); }
  });
  ul.dataset.keys = "1";
  return ul;
}
function mark(image, li) {
  const searching = hits || onlyCopies;
  li.classList.toggle("dim", Boolean(searching) && !matches(image)); li.classList.toggle("hit", Boolean(searching) && Boolean(matches(image)));
}
function markHits() { for (const [image, list] of places) for (const li of list) mark(image, li); }
function fill(ul, list) {
  for (const image of list) {
    const li = el("li", null);
    li.append(thumbnail(image)); ul.append(li); mark(image, li);
    if (!places.has(image)) places.set(image, []);
    places.get(image).push(li);
  }
  return withArrowKeys(ul);
}
const gallery = list => fill(el("ul", null, { class: "gallery" }), list);
function folding(summary, list) {  // a list that is built when it is opened, some images at a time
  const d = el("details", null), ul = el("ul", null, { class: "gallery" }), more = el("button", "", { type: "button" });
  let built = 0;
  const build = upTo => {
    if (!built) d.append(ul, more);
    fill(ul, list.slice(built, upTo)); built = Math.max(built, Math.min(upTo, list.length));
    more.hidden = built === list.length; more.textContent = `Show ${count(Math.min(STEP_IMAGES, list.length - built))} more of ${count(list.length - built)}`;
  };
  d.append(el("summary", summary));
  d.addEventListener("toggle", () => { if (d.open && !built) build(STEP_IMAGES); });
  more.addEventListener("click", () => { const before = built; build(built + STEP_IMAGES); ul.children[before].firstElementChild.focus(); });
  list.forEach((image, i) => folded.set(image, () => { d.open = true; if (built <= i) build(Math.ceil((i + 1) / STEP_IMAGES) * STEP_IMAGES); }));
  return d;
}
function partsOf(cluster) {
  const parts = new Map();
  for (const image of cluster.members) if (image.part >= 0) parts.set(image.part, [...(parts.get(image.part) || []), image]);
  if (parts.size < 2) return null;
  const d = el("details", null, { class: "parts" });
  d.append(el("summary", `${parts.size} clusters within this cluster`));
  d.addEventListener("toggle", () => {
    if (!d.open || d.children.length > 1) return;
    for (const [part, list] of [...parts].sort((a, b) => a[0] - b[0])) {
      d.append(el("h3", `Part ${part + 1}: ${plural(list.length)}`), gallery(list.slice(0, data.nearest)));
      if (list.length > data.nearest) d.append(folding(`${count(list.length - data.nearest)} more of part ${part + 1}`, list.slice(data.nearest)));
    }
  });
  return d;
}
function sectionOf(cluster) {
  const own = cluster.members, c = cluster.number;
  const section = el("section", null, { class: "cluster", id: "cluster-" + c }), h = el("h2", null), chip = el("span", "", { class: square(c) ? "chip square" : "chip" });
  chip.style.background = colour(c);
  h.append(chip, document.createTextNode(`${label(cluster)}: ${plural(own.length)}`));
  section.append(h);
  if (c !== NONE) section.append(toolsOf(cluster));
  section.append(el("p", c === NONE ? "Images that HDBSCAN leaves out" : "Nearest to the centre", { class: "soft" }), gallery(own.slice(0, data.nearest)));
  const rest = own.slice(data.nearest), last = rest.splice(Math.max(0, rest.length - data.farthest));
  const parts = c === NONE ? null : partsOf(cluster);
  if (rest.length) section.append(folding(`${count(rest.length)} more`, rest));
  if (last.length) section.append(el("p", "Outliers, farthest from the centre", { class: "soft" }), gallery(last));
  if (parts) section.append(parts);
  return section;
}
function sizesOf(list) {
  const largest = Math.max(...list.map(c => c.members.length));
  return list.map(cluster => {
    const link = el("a", null, { href: "#cluster-" + cluster.number }), bar = el("b", null);
    bar.style.background = colour(cluster.number); bar.style.width = `${100 * cluster.members.length / largest}%`;
    ["mouseenter", "focus"].forEach(name => link.addEventListener(name, () => { only = cluster.number; draw(); }));
    ["mouseleave", "blur"].forEach(name => link.addEventListener(name, () => { only = null; draw(); }));
    link.append(el("span", label(cluster), { title: label(cluster) }), bar, el("span", count(cluster.members.length)));
    return link;
  });
}
function build() {  // everything that depends on who is in which cluster
  places.clear(); folded.clear(); gather(); describe();
  const list = filled();
  holder.replaceChildren(...list.map(sectionOf));
  $("sizes").replaceChildren(...sizesOf(list));
  findMiddles(); draw();
}
function goTo(image) {
  if (folded.has(image) && !places.has(image)) folded.get(image)();
  const [li] = places.get(image);
  const closed = li.closest("details:not([open])"); if (closed) closed.open = true;
  li.scrollIntoView({ block: "center" }); li.firstElementChild.focus({ preventScroll: true });
}
