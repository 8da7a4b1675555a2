// vitral from C, and from whatever calls C: embeds images with a trained student, texts with a teacher's text
// tower.
//
//   vitral_encoder* student = NULL;
//   vitral_status status = vitral_open_encoder("runs/student", NULL, &student);
//   if (status != VITRAL_OK) puts(vitral_last_error());
//   vitral_read_image(student, "cat.jpg", pixels);                      // [S,S,3]
//   vitral_embed_pixels(student, pixels, 1, embedding, NULL, NULL);     // [1,S,S,3] -> [1,D]
//   vitral_close_encoder(student);
//
// Arrays are dense and row-major, and are the caller's. What an encoder is opened with, it keeps: any number
// of threads may call functions with the same encoder at once, as long as none of them closes it. A function
// that returns a status returns VITRAL_OK or leaves in vitral_last_error() one line that says what is wrong,
// where, and what to do; what it was to write is then undefined.
//
// Functions are added to this interface, never changed or removed, as long as the library is libvitral.so.0.
#ifndef VITRAL_H
#define VITRAL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VITRAL_API __attribute__((visibility("default")))
#else
#define VITRAL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vitral_status {
  VITRAL_OK = 0,
  VITRAL_FAILED = 1,         // the work failed: a damaged file, a disk, values that are not finite
  VITRAL_BAD_REQUEST = 2,    // a wrong argument: NULL, no such file, weights of another kind
  VITRAL_OUT_OF_MEMORY = 3,  // the machine's or the GPU's
  VITRAL_INTERNAL = 4        // a fault of vitral itself
} vitral_status;

/// "0.1.0"
VITRAL_API const char* vitral_version(void);

/// Of the last call in this thread that did not return VITRAL_OK, UTF-8; "" before the first. It stays until
/// the next such call.
VITRAL_API const char* vitral_last_error(void);

/// How an encoder computes. Members are added at the end: `size` says which ones the caller knows, and the
/// others have their defaults. All zero but `size`, or NULL instead of the options, means the defaults.
typedef struct vitral_options {
  size_t size;         // sizeof(vitral_options)
  const char* device;  // "cpu", "cuda", "cuda:N" or "auto"; NULL: auto, a GPU where vitral finds one
  int32_t threads;     // that a call computes with; 0: as OpenMP has it (OMP_NUM_THREADS, else the cores)
  double temperature;  // of a student's softmax over patches; 0: 1
  // Of a text tower, where its files do not say it (vitral_text_encoder_guessed) or say it wrongly:
  int32_t heads;           // attention heads; 0: as the files say it, else width / 64
  const char* activation;  // "quick_gelu", "gelu" or "gelu_pytorch_tanh"; NULL: as the files say it, else as
                           // OpenAI's CLIP (quick_gelu) or SigLIP has it
} vitral_options;

// --- A student: images to embeddings ---

typedef struct vitral_encoder vitral_encoder;

/// Opens a run folder, a checkpoint, a .safetensors or a .pt file. *encoder is written where VITRAL_OK is
/// returned. The files may be replaced or removed while it is open, but not shortened or overwritten in
/// place: weights are used where they are mapped.
VITRAL_API vitral_status vitral_open_encoder(const char* path, const vitral_options* options,
                                             vitral_encoder** encoder);
/// Frees it; nothing where it is NULL.
VITRAL_API void vitral_close_encoder(vitral_encoder* encoder);

/// S, the pixels a side of its images. This and the next two: 0 where `encoder` is NULL.
VITRAL_API int64_t vitral_encoder_image_size(const vitral_encoder* encoder);
/// N, the patches of an image; they lie on a square grid, row by row.
VITRAL_API int64_t vitral_encoder_patches(const vitral_encoder* encoder);
/// D, the width of an embedding.
VITRAL_API int64_t vitral_encoder_width(const vitral_encoder* encoder);

/// An image file (JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, AVIF, HEIC) as this encoder wants its images, and as
/// `vitral embed` prepares them: turned upright by its Exif orientation, resized to S x S (bilinear with
/// antialiasing). Writes pixels [S,S,3], red, green, blue.
VITRAL_API vitral_status vitral_read_image(const vitral_encoder* encoder, const char* path, uint8_t* pixels);
/// The same of a file that is in memory.
VITRAL_API vitral_status vitral_decode_image(const vitral_encoder* encoder, const void* bytes, size_t size,
                                             uint8_t* pixels);

/// Embeds `count` >= 1 images, pixels [count,S,S,3]. Writes
///   embeddings [count,D]    an image's embedding, as long as the student makes it: sum_n probs[n] patches[n]
///   probs      [count,N]    the weight of each patch in it; they add up to 1
///   patches    [count,N,D]  the embeddings of the patches
/// each of which may be NULL where it is not wanted.
VITRAL_API vitral_status vitral_embed_pixels(const vitral_encoder* encoder, const uint8_t* pixels,
                                             int64_t count, float* embeddings, float* probs, float* patches);

// --- The text tower of a CLIP or SigLIP: texts into the space of a student's embeddings ---

typedef struct vitral_text_encoder vitral_text_encoder;

/// Opens the weights of a CLIP or SigLIP: a folder, a file, a run of vitral's. vocabulary: the tokeniser's
/// file, or a folder that holds it; NULL: the one beside the weights.
VITRAL_API vitral_status vitral_open_text_encoder(const char* path, const char* vocabulary,
                                                  const vitral_options* options,
                                                  vitral_text_encoder** encoder);
/// Frees it; nothing where it is NULL.
VITRAL_API void vitral_close_text_encoder(vitral_text_encoder* encoder);

/// What neither its files nor options.heads and options.activation say, and how it was taken: "as in OpenAI's
/// models: 8 heads (width / 64) and quick_gelu", which is wrong for most of open_clip's models. "": nothing,
/// or `encoder` is NULL. It stays until `encoder` is closed.
VITRAL_API const char* vitral_text_encoder_guessed(const vitral_text_encoder* encoder);

/// D, the width of an embedding; 0 where `encoder` is NULL.
VITRAL_API int64_t vitral_text_encoder_width(const vitral_text_encoder* encoder);

/// Embeds `count` >= 1 texts, UTF-8 that ends with a zero. Writes embeddings [count,D], as long as the tower
/// makes them. A text that is longer than the tower reads is cut as the family does it.
VITRAL_API vitral_status vitral_embed_texts(const vitral_text_encoder* encoder, const char* const* texts,
                                            int64_t count, float* embeddings);

#ifdef __cplusplus
}
#endif

#endif
