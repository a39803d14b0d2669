"""Networks whose tasks choose among experts that all share."""
