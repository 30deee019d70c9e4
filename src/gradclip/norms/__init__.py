"""Norms that neither overflow nor underflow, of tensors, units and array rows, on CPUs and GPUs.

``tensors.py`` and ``units.py`` measure tensors, with the faster code of ``cpu.py`` and ``gpu.py`` where it applies.
``arrays.py`` measures rows of NumPy arrays. Read ``tensors.py`` first.
"""
