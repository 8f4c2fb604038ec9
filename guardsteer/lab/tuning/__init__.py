"""How strong, at which blocks and with which others a vector is used."""
