"""What a class refuses."""


class ClassError(ValueError):
    """A class or its database refuses something. Its text is a sentence for whoever asked."""


class ClassEndedError(ClassError):
    """The class is over: its page forgets it. A database that cannot be reached is another error."""
