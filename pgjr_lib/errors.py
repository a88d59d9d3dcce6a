"""Define the exception for mistakes in the input."""


class PGJRError(ValueError):
    """A mistake in the input. Its message is one sentence that names the mistake and says what to do.

    The command line prints the message and exits with status 2.
    """
