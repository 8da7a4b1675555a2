"""What embed.c does, from Python: python3 embed.py STUDENT CLIP PICTURE TEXT..."""
import sys
from ctypes import CDLL, byref, c_char_p, c_int64, c_void_p

import numpy as np

vitral = CDLL("libvitral.so.0")
vitral.vitral_last_error.restype = c_char_p
for name in "encoder_image_size", "encoder_patches", "encoder_width", "text_encoder_width":
    getattr(vitral, "vitral_" + name).restype = c_int64


def call(name, *arguments):
    """Arrays go as pointers, texts as UTF-8, numbers as int64."""
    given = [a.ctypes.data_as(c_void_p) if isinstance(a, np.ndarray) else a.encode() if isinstance(a, str)
             else c_int64(a) if isinstance(a, int) else a for a in arguments]
    if getattr(vitral, "vitral_" + name)(*given):
        sys.exit("embed.py: " + vitral.vitral_last_error().decode())


student, clip = c_void_p(), c_void_p()
call("open_encoder", sys.argv[1], None, byref(student))
call("open_text_encoder", sys.argv[2], None, None, byref(clip))
size, n, d = (getattr(vitral, "vitral_encoder_" + what)(student) for what in ("image_size", "patches", "width"))
words = sys.argv[4:]

pixels = np.empty((1, size, size, 3), np.uint8)
call("read_image", student, sys.argv[3], pixels)
embedding, patches = np.empty((1, d), np.float32), np.empty((1, n, d), np.float32)
call("embed_pixels", student, pixels, len(pixels), embedding, None, patches)
texts = np.empty((len(words), d), np.float32)
call("embed_texts", clip, (c_char_p * len(words))(*(w.encode() for w in words)), len(words), texts)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


cosines, places = unit(texts) @ unit(embedding[0]), (unit(patches[0]) @ unit(texts).T).argmax(0)
for cosine, place, word in zip(cosines, places, words):
    print(f"{cosine:.3f}  patch {place}  {word}")
