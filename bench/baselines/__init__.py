"""What the engine is compared with. No part of the product: nothing here is a model for anything."""
