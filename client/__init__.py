"""The client side: Flower messages in and out, private data, the local training loop, state kept between rounds."""
