// docutils marks a reference as a "doc-biblioentry", which screen readers no longer take for an item of the list around it.
addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll('.citation-list > [role="doc-biblioentry"]')) entry.setAttribute("role", "listitem");
});
