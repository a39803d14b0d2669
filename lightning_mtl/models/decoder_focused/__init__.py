"""Networks whose tasks exchange information after the encoder, from first predictions on."""
