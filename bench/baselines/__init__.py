"""Services that the engine is compared with. They are not part of the product, nor examples for it."""
