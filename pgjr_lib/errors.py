"""The one exception that speaks to the person at the keyboard."""


class PGJRError(ValueError):
    """A mistake in the input, told in one sentence that names it and says what to do.

    The command line prints the sentence and exits with status 2; nothing else catches it.
    """
