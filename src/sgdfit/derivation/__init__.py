"""The gradient derived step by step, drawn as text, LaTeX and MathML, and checked."""
