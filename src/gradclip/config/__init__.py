"""Settings: what is allowed, how they are read and checked, what ``--help`` shows.

``conf/`` holds the values; a module here for each of its groups holds types, ranges and choices, and ``schema`` joins
them. ``validation`` turns a composed config into frozen settings, ``identity`` says which runs are the same, and
``serialization`` stores settings and reads them back. Read :mod:`~gradclip.config.schema` first.
"""
