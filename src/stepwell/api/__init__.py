"""The public verbs. Each is what the command of the same name does, as a function.

A verb reads what the user said, chooses the directory and hands over to the rooms that know how. Nothing is printed:
progress goes to `watch`. Rooms that need torch are opened inside the functions, so importing this room is quick.
"""

from stepwell.api.chatting import Conversation, chat
from stepwell.api.exchange import export, import_, merge
from stepwell.api.measuring import compare, evaluate
from stepwell.api.searching import search
from stepwell.api.serving import serve
from stepwell.api.training import doctor, find_rate, plan, prepare, quickstart, report, run, train
from stepwell.api.using import answer_rows, embed, predict, score, stream

__all__ = [
    "Conversation",
    "answer_rows",
    "chat",
    "compare",
    "doctor",
    "embed",
    "evaluate",
    "export",
    "find_rate",
    "import_",
    "merge",
    "plan",
    "predict",
    "prepare",
    "quickstart",
    "report",
    "run",
    "score",
    "search",
    "serve",
    "stream",
    "train",
]
