"""Converters: Keras and ONNX models to int8 TFLite; for the workstation."""
