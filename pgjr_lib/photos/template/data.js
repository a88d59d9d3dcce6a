"use strict";
// ---- what the page shows, and words for it ----
const data = JSON.parse(document.getElementById("data").textContent), about = data.about;
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F", "#AA4499", "#999933"];
const NONE = -1;  // of images that are in no cluster
const $ = id => document.getElementById(id);
const colour = c => c === NONE ? "#8a8f98" : COLOURS[c % COLOURS.length];
const square = c => Math.floor(c / COLOURS.length) % 2 === 1;
const el = (tag, text, attributes = {}) => { const e = document.createElement(tag); if (text !== null) e.textContent = text; for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); return e; };
const count = n => n.toLocaleString("en"), plural = n => `${count(n)} image${n === 1 ? "" : "s"}`;
const bytes = n => n < 1e6 ? `${Math.max(1, Math.round(n / 1e3))} kB` : `${(n / 1e6).toFixed(1)} MB`;
const images = data.images.map(([file, cluster, distance, x, y, key, width, height, size, part, near, picture]) =>
  ({ file, lower: file.toLowerCase(), cluster, distance, x, y, key, width, height, size, part, near, picture, copy: null }));
const source = image => image.picture ? "data:image/jpeg;base64," + image.picture : `${data.thumbnails}/${image.key.slice(0, 2)}/${image.key}.jpg`;
const groups = new Map();  // of near-duplicates: number -> images, the best first
for (const [i, group, best, same] of data.copies) {
  images[i].copy = { group, best, same };
  groups.set(group, [...(groups.get(group) || []), images[i]]);
}
const clusters = new Map();  // number -> cluster, in order
for (const { number, name, suggestions } of data.clusters) clusters.set(number, { number, name, suggestions, members: [] });
function gather() {  // the members of every cluster, nearest to the centre first
  for (const cluster of clusters.values()) cluster.members = [];
  for (const image of images) clusters.get(image.cluster).members.push(image);
  for (const cluster of clusters.values()) cluster.members.sort((a, b) => a.distance - b.distance);
}
gather();
const filled = () => [...clusters.values()].filter(c => c.members.length).sort((a, b) => (a.number === NONE) - (b.number === NONE) || a.number - b.number);
const label = c => c.number === NONE ? "In no cluster" : `Cluster ${c.number}` + (c.name ? `, ${c.name}` : "");

function describe() {
  const some = filled().filter(c => c.number !== NONE).length;
  $("what").textContent = `${plural(images.length)} in ${some} cluster${some === 1 ? "" : "s"}.` + (about.guess.length ? " The number of clusters is a guess: choose another with pgjr cluster -k." : "") + (about.changes ? " " + about.changes : "");
}
$("name").textContent = about.folder;
$("how").textContent = `Features from the prior ${about.prior} (${about.supervision}). ${about.method} Head: ${about.head}, because ${about.reason}.` + (about.note ? ` Note on the images: ${about.note}.` : "");
$("offline").textContent = (data.thumbnails ? `This page needs no network, but the folder ${data.thumbnails} beside it.` : "This page is one file and needs no network.") + " clusters.csv beside it lists every image.";

const extra = $("extra");
function table(rows, caption) {
  const wrap = el("div", null, { class: "wide", tabindex: "0", role: "region", "aria-label": caption }), t = el("table", null);
  t.append(el("caption", caption));
  rows.forEach((row, i) => { const tr = el("tr", null); row.forEach((cell, j) => tr.append(el(i && j ? "td" : "th", String(cell)))); t.append(tr); });
  wrap.append(t); return wrap;
}
if (about.guess.length) {
  const d = el("details", null); d.append(el("summary", "How the number of clusters was guessed"));
  d.append(el("p", "The silhouette measures how well clusters are separated. It depends on k even where there are no clusters, so the silhouette of a single cloud is subtracted. Stability measures how well three runs of k-means agree. The k with the largest product of this difference and the stability is chosen. It is a guess: choose another k with -k."));
  if (about.guess.every(r => r.silhouette <= r.one_cloud || r.stability <= 0)) d.append(el("p", "There is no clear number here: none stands out against a single cloud, so the guess is arbitrary."));
  d.append(table([["k", "silhouette", "of a single cloud", "stability"], ...about.guess.map(r => [r.k, ...[r.silhouette, r.one_cloud, r.stability].map(v => v.toFixed(3))])], "Candidates")); extra.append(d);
}
if (about.scores.acc !== undefined) {
  const s = about.scores;
  extra.append(el("p", `Agreement with the folders: ACC ${(100 * s.acc).toFixed(1)}, NMI ${(100 * s.nmi).toFixed(1)}, ARI ${(100 * s.ari).toFixed(1)} (all times 100).`));
  extra.append(table([["folder", ...s.clusters], ...s.confusion.map((row, i) => [s.classes[i], ...row])], "Images of each folder (row) in each cluster (column)"));
}
for (const [names, summary] of [[about.skipped, "Skipped files that are not images of a readable format"], [about.raw, "Skipped RAW files"], [about.damaged, "Left out damaged images"]]) {
  if (!names.length) continue;
  const d = el("details", null); d.append(el("summary", `${summary}: ${count(names.length)}`));
  const ul = el("ul", null); names.forEach(name => ul.append(el("li", name))); d.append(ul); extra.append(d);
}
