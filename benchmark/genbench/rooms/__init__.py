"""Rooms: processes of their own for the code of third parties, with few rights, which end with their step.

server     what rooms are forked from
room       the outside: open one, pass on what it tells, see to it that nothing of it is left
guest      the inside: rights are given up, then the stranger's code runs
order      what a room is asked to do;  messages  what it says: JSON, never pickles
landlock   rights to files;  seccomp  the network;  capabilities  root's;  allowed  what every room may touch
tree       processes below a process
"""

from genbench.rooms.allowed import merged, usual_rights
from genbench.rooms.landlock import Rights
from genbench.rooms.order import Confine, Order, can_confine, is_private
from genbench.rooms.room import Stay, prepare, stay

__all__ = [
    "Confine",
    "Order",
    "Rights",
    "Stay",
    "can_confine",
    "is_private",
    "merged",
    "prepare",
    "stay",
    "usual_rights",
]
