"""HTML templates, filled by jinja2. Every value is escaped, so that no name in it can become markup."""

from pathlib import Path

import jinja2

from pgjr_book.show import numbers

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.policies["json.dumps_kwargs"] = {}  # keys stay in their order
ENVIRONMENT.filters["fixed"] = numbers.fixed
ENVIRONMENT.globals["mean_sd"] = numbers.mean_sd


def fill(template: str, **values) -> str:
    """Return the file ``template`` of this folder with its fields filled in.

    Raises:
        jinja2.UndefinedError: a field has no value.
    """
    return ENVIRONMENT.get_template(template).render(**values)
