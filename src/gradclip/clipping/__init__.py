"""Pure gradient transforms: one method a file, composed by :class:`~gradclip.clipping.chain.Chain`."""
