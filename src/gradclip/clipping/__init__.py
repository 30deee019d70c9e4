"""Pure gradient transforms, one clipping method per file; ``methods.py`` lists them.

A clipper takes named gradients, their parameters and a state. It returns the clipped gradients, the next state and a
report. ``build.py`` makes a clipper from its settings, and :mod:`gradclip.callbacks.clip_gradients` applies it at each
step. In the pipeline, Lightning's Trainer does plain ``norm`` and ``value`` clipping: :mod:`gradclip.training.clipping`
decides. Read ``base.py`` first: it has the contract and an example of a new clipper.
"""

METHODS_FILE = f"{__path__[0]}/methods.py"


def re_exports(path: str) -> dict[str, str]:
    """Return the module of each name that a file of ours imports for its own readers, without executing the file.

    The file has a line ``from module import name as name`` for each.
    """
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file]
    return {words[3]: words[1] for words in lines if words[:1] == ["from"] and words[4:5] == ["as"]}


def method_table() -> dict[str, str]:
    """Return the class name of each clipping method by its config name, without importing the methods.

    A method is named after its file: ``norm.py`` is ``clip=norm``.

    Example:
        >>> method_table()["norm"]
        'Norm'
    """
    return {module.rpartition(".")[2]: clipper for clipper, module in re_exports(METHODS_FILE).items()}
