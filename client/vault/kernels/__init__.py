"""Private kernels: sums over patients of gradients, each patient clipped as a whole."""
