"""A formula that met its data: loss, parameters, derivatives."""
