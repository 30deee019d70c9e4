"""Settings: allowed values, validation, storage and the text of ``--help``.

``conf/`` holds the values. Each of its groups has a module here with its types, ranges and choices; ``schema`` joins
them. ``validation`` turns a composed config into frozen settings, ``identity`` decides which runs are the same, and
``serialization`` stores settings and reads them back. Read :mod:`~gradclip.config.schema` first.
"""
