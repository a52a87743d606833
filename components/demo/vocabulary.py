"""The words of the demo corpus. Every one of them becomes one token."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words("""
    Mia Leo Ana Ben Eva Max Ida Tom Zoe Sam Lily Noah Emma Jack Ruby Finn Nora Owen Lucy Adam Rosa Paul
    Ella Hugo Jane Karl Lena Otto Vera Kate Theo Mark
""")
PLACES = _words("""
    kitchen garden park school library attic barn cave forest market station harbour tower museum bakery
    cellar hall theatre castle church hospital hotel office village
""")
THINGS = _words("""
    key map ball book lamp kite hat coin drum rope cup bell box clock coat ring shoe spoon brush bag
    flute candle mirror ladder basket bottle pen knife scarf puzzle letter stone
""")
COLOURS = _words("""
    red blue green yellow black white brown grey pink purple golden silver
""")
ANIMALS = _words("""
    cat dog horse cow sheep goat duck mouse fox wolf bear lion frog snake owl rabbit
""")
FOODS = _words("""
    apple bread cheese soup rice honey cake milk pear plum lemon butter salt pepper tea fish
""")

# The V of an "X: V." pair; the X is a name or an animal.
VALUES = THINGS + FOODS + COLOURS

# The words of copied lists.
LIST_WORDS = THINGS + ANIMALS + FOODS + COLOURS + PLACES

# The other words of the sentences.
SENTENCE_WORDS = _words("""
    is in the In has Everyone Rain had have found find Where What does did The A a It was day warm cold
    sunny quiet Then They they and to went sat by old tree door said hello talked about weather looked
    at sky for walk rested long time birds sang wind blew softly fell outside smiled happy Words Again
""")

MARKS = (".", ",", ":", "?", "!")


def everyday_words() -> tuple[str, ...]:
    """Every distinct word of the corpus, in the capitalisation in which the corpus uses it."""
    return tuple(dict.fromkeys(NAMES + PLACES + LIST_WORDS + SENTENCE_WORDS))


def one_token_texts() -> tuple[str, ...]:
    """Required tokens: each everyday word with and without a leading space, marks, the line end."""
    forms = tuple(form for word in everyday_words() for form in (word, " " + word))
    return (*forms, *MARKS, "\n")
