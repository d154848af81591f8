"""The HTTP face: translate, call, translate back."""
