"""The coordinator: drives rounds of queries over a Flower Grid; never imports the client."""
