"""Networks that learn where tasks branch off."""
