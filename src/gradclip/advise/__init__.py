"""Look at the gradients of a stored run and say what to try, with reasons and numbers."""
