"""Networks: text encoder, open-vocabulary heads, backbones."""
