"""Drop-in Lightning callbacks: clip, watch the gradients, keep the learning curve."""
