// Tables sort by a click on a column's head: within each block, numbers by value, words by alphabet; a second click turns the order round.
document.addEventListener("click", (event) => {
  const button = event.target.closest("table[data-sortable] thead button");
  if (!button) return;
  const head = button.closest("th"), table = head.closest("table"), column = [...head.parentNode.children].indexOf(head);
  const down = head.getAttribute("aria-sort") !== "descending";
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = (row) => row.children[column].dataset.sort ?? row.children[column].textContent;
  const compare = (a, b) => (Number.isNaN(Number(a)) || Number.isNaN(Number(b)) ? a.localeCompare(b) : a - b);
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("block"));
    rows.sort((a, b) => compare(value(a), value(b)) * (down ? -1 : 1));
    body.append(...rows);
  }
});
