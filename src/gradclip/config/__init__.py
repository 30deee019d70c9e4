"""Settings: allowed values, validation, storage and the text of ``--help``.

``conf/`` holds the values. Each of its groups has a module here with its types, ranges and choices; ``schema.py`` joins
them. ``validation.py`` turns a composed config into frozen settings, ``identity.py`` decides which runs are the same,
and ``serialization.py`` stores settings and reads them back. Read ``schema.py`` first.
"""
