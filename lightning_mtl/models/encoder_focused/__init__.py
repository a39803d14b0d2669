"""Networks whose tasks exchange features inside the encoder."""
