// ---- the map ----
const canvas = $("plane"), pen = canvas.getContext("2d"), tip = $("tip");
const DOT = images.length > 6000 ? 2.5 : 4;
let current = -1, pictures = false, middles = [];
const median = values => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
function findMiddles() {
  middles = filled().filter(c => c.number !== NONE).map(c => ({ number: c.number, x: median(c.members.map(i => i.x)), y: median(c.members.map(i => i.y)) }));
}
const at = i => [14 + i.x * (canvas.clientWidth - 28), 14 + (1 - i.y) * (canvas.clientHeight - 28)];
function dot(image, r) {
  const [x, y] = at(image);
  if (square(image.cluster)) pen.rect(x - r, y - r, 2 * r, 2 * r); else { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 7); }
}
function draw() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio; pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  const ink = getComputedStyle(document.body).color, ground = getComputedStyle($("map")).backgroundColor;
  if (pictures) { drawPictures(ink); return; }
  for (const bright of [false, true]) for (const cluster of clusters.values()) {  // one path a cluster, which is fast
    pen.globalAlpha = bright ? .85 : .1; pen.fillStyle = colour(cluster.number); pen.beginPath();
    for (const image of cluster.members) if (Boolean(highlighted(image)) === bright) dot(image, DOT);
    pen.fill();
  }
  pen.globalAlpha = 1; pen.font = "bold 15px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineWidth = 4;
  for (const middle of middles) {
    const [x, y] = at(middle);
    pen.strokeStyle = ground; pen.strokeText(middle.number, x, y); pen.fillStyle = ink; pen.fillText(middle.number, x, y);
  }
  if (current >= 0) {
    pen.beginPath(); dot(images[current], 8); pen.fillStyle = colour(images[current].cluster); pen.fill(); pen.lineWidth = 2; pen.strokeStyle = ink; pen.stroke();
  }
}
const SIDE = 34;  // pixels of an image on the map; where two would overlap, the one nearer its cluster's centre is shown
const STEP = SIDE + 4, occupied = new Map();  // cell -> image
const cell = (v, length) => Math.max(1, Math.min(Math.floor((length - STEP / 2) / STEP), Math.round(v / STEP)));
const cellOf = (x, y) => [cell(x, canvas.clientWidth), cell(y, canvas.clientHeight)];
function occupy() {
  occupied.clear();
  for (const image of nearestFirst) {
    if (!highlighted(image)) continue;
    const key = cellOf(...at(image)).join();
    if (!occupied.has(key)) occupied.set(key, image);
  }
}
const nearestFirst = [...images].sort((a, b) => a.distance - b.distance);
function drawPictures(ink) {
  occupy();
  for (const [key, image] of occupied) {
    const [left, top] = key.split(",").map(c => c * STEP - STEP / 2);
    pen.fillStyle = colour(image.cluster); pen.fillRect(left, top, STEP, STEP);
    if (!image.decoded) {  // only those that are drawn are loaded
      image.decoded = new Image(); image.decoded.addEventListener("load", later); image.decoded.src = source(image);
    } else if (image.decoded.complete && image.decoded.naturalWidth) pen.drawImage(image.decoded, left + 2, top + 2, SIDE, SIDE);
  }
  if (current >= 0) {
    const [left, top] = cellOf(...at(images[current])).map(c => c * STEP - STEP / 2);
    pen.lineWidth = 3; pen.strokeStyle = ink; pen.strokeRect(left, top, STEP, STEP);
  }
}
let waiting = false;
function later() { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } }
$("pictures").addEventListener("click", () => { pictures = !pictures; $("pictures").setAttribute("aria-pressed", String(pictures)); draw(); });
function show(i) {
  current = i; draw();
  if (i < 0) { tip.style.display = "none"; return; }
  const [x, y] = at(images[i]);
  tip.replaceChildren(el("img", null, { src: source(images[i]), alt: "" }), el("span", `${images[i].file} (${label(clusters.get(images[i].cluster)).toLowerCase()})`));
  tip.style.display = "block"; tip.dataset.file = images[i].file;
  tip.style.left = Math.max(0, Math.min(x + 12, canvas.clientWidth - tip.offsetWidth)) + "px";
  tip.style.top = Math.max(0, Math.min(y + 12, canvas.clientHeight - tip.offsetHeight)) + "px";
}
canvas.addEventListener("mousemove", event => {
  const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
  let best = -1, near = 15 * 15;
  if (pictures) best = images.indexOf(occupied.get(cellOf(px, py).join()));
  else images.forEach((image, i) => { const [x, y] = at(image), d = (x - px) ** 2 + (y - py) ** 2; if (d < near) { near = d; best = i; } });
  if (best !== current) show(best);
});
for (const name of ["mouseleave", "blur"]) canvas.addEventListener(name, () => { tapped = -1; show(-1); });
let finger = false, tapped = -1;  // a first tap only shows the image
canvas.addEventListener("pointerdown", event => { finger = event.pointerType === "touch"; });
canvas.addEventListener("click", () => {
  if (current >= 0 && (!finger || tapped === current)) goTo(images[current]);
  tapped = current;
});
canvas.addEventListener("keydown", event => {
  if (event.key === "Enter" && current >= 0 && !event.repeat) { event.preventDefault(); goTo(images[current]); return; }
  const direction = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!direction) return;
  event.preventDefault();
  if (current < 0) { show(0); return; }
  const [cx, cy] = at(images[current]);
  let best = current, least = Infinity;
  images.forEach((image, i) => {
    const [x, y] = at(image), ahead = (x - cx) * direction[0] + (y - cy) * direction[1], aside = Math.abs((x - cx) * direction[1]) + Math.abs((y - cy) * direction[0]);
    if (ahead > .5 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = i; }
  });
  show(best);
});
addEventListener("resize", draw);
