// Which of some texts says best what a picture shows, and where: a student, the text tower of its teacher,
// and vitral.h.
//
//   embed STUDENT CLIP PICTURE TEXT...
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "vitral.h"

static void check(vitral_status status) {
  if (status == VITRAL_OK) return;
  fprintf(stderr, "embed: %s\n", vitral_last_error());
  exit(1);
}

static void* array(int64_t count, size_t size) {
  void* memory = calloc((size_t)count, size);
  if (memory) return memory;
  fprintf(stderr, "embed: out of memory\n");
  exit(1);
}

static double dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += (double)a[i] * b[i];
  return sum;
}

static double cosine(const float* a, const float* b, int64_t count) {
  return dot(a, b, count) / sqrt(dot(a, a, count) * dot(b, b, count));
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: embed STUDENT CLIP PICTURE TEXT...\n");
    return 2;
  }
  vitral_encoder* student = NULL;
  check(vitral_open_encoder(argv[1], NULL, &student));
  const int64_t size = vitral_encoder_image_size(student);
  const int64_t n = vitral_encoder_patches(student), d = vitral_encoder_width(student);

  uint8_t* pixels = array(size * size * 3, sizeof *pixels);
  float* embedding = array(d, sizeof *embedding);
  float* patches = array(n * d, sizeof *patches);
  check(vitral_read_image(student, argv[3], pixels));
  check(vitral_embed_pixels(student, pixels, 1, embedding, NULL, patches));

  vitral_text_encoder* clip = NULL;
  check(vitral_open_text_encoder(argv[2], NULL, NULL, &clip));
  if (vitral_text_encoder_width(clip) != d) {
    fprintf(stderr, "embed: %s and %s have embeddings of other widths\n", argv[1], argv[2]);
    return 1;
  }
  const int64_t count = argc - 4;
  float* texts = array(count * d, sizeof *texts);
  check(vitral_embed_texts(clip, (const char* const*)(argv + 4), count, texts));

  for (int64_t t = 0; t < count; ++t) {
    const float* text = texts + t * d;
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i)
      if (cosine(patches + i * d, text, d) > cosine(patches + best * d, text, d)) best = i;
    printf("%.3f  patch %d  %s\n", cosine(embedding, text, d), (int)best, argv[4 + t]);
  }
  free(texts);
  free(patches);
  free(embedding);
  free(pixels);
  vitral_close_text_encoder(clip);
  vitral_close_encoder(student);
  return 0;
}
