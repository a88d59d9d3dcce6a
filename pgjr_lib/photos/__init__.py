"""Run ``pgjr cluster``: from a folder of photographs to a table of clusters and a page that shows them."""
