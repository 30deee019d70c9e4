"""Pure gradient transforms, one clipping method per file; ``methods.py`` lists them.

A clipper takes named gradients, their parameters and a state. It returns the clipped gradients, the next state and a
report. ``build.py`` makes a clipper from its settings, and :mod:`gradclip.callbacks.clip_gradients` applies it at each
step. In the pipeline, Lightning's Trainer does plain ``norm`` and ``value`` clipping: :mod:`gradclip.training.clipping`
decides. Read ``base.py`` first: it has the contract and an example of a new clipper.
"""


def method_table() -> dict[str, str]:
    """Return the class name of each clipping method by its config name, without importing the methods.

    A method is named after its file: ``norm.py`` is ``clip=norm``.

    Example:
        >>> method_table()["norm"]
        'Norm'
    """
    with open(f"{__path__[0]}/methods.py", encoding="utf-8") as table:
        imports = [line.split() for line in table if line.startswith("from ")]  # from package.method import Class ...
    return {words[1].rpartition(".")[2]: words[3] for words in imports}
