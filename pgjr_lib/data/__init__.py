"""Image sets: the table of benchmarks, folders of your own, and how both become arrays."""
