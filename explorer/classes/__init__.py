"""Classes: a lecturer starts one, students join it by its code and answer a question at each step.

Nobody has an account. What is kept, in tables of one database: of a class its code, its step, how it goes and
when it started; of a student a random name and a step; of an answer who chose what. All of it is deleted when
the lecturer ends the class, and a day after its start. Nothing here draws a page.
"""

from explorer.classes.codes import in_groups
from explorer.classes.errors import ClassEndedError, ClassError
from explorer.classes.links import PAGE, address_for_others, link_to_class, qr_svg, qr_text
from explorer.classes.rooms import LIFETIME, Room, Rooms, rooms

__all__ = [
    "LIFETIME",
    "PAGE",
    "ClassEndedError",
    "ClassError",
    "Room",
    "Rooms",
    "address_for_others",
    "in_groups",
    "link_to_class",
    "qr_svg",
    "qr_text",
    "rooms",
]
