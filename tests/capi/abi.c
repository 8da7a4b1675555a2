// What programs that were built with an older vitral.h rely on: each function with its type, each number,
// each member with its place. Lines are added here, none is changed or removed, as long as the library is
// libvitral.so.0; tests/exports.sh compares the functions with those that the library shows.
#include <stdio.h>

#include "capi/vitral.h"

const char* (*const version)(void) = vitral_version;
const char* (*const last_error)(void) = vitral_last_error;
vitral_status (*const open_encoder)(const char*, const vitral_options*,
                                    vitral_encoder**) = vitral_open_encoder;
void (*const close_encoder)(vitral_encoder*) = vitral_close_encoder;
int64_t (*const encoder_image_size)(const vitral_encoder*) = vitral_encoder_image_size;
int64_t (*const encoder_patches)(const vitral_encoder*) = vitral_encoder_patches;
int64_t (*const encoder_width)(const vitral_encoder*) = vitral_encoder_width;
vitral_status (*const read_image)(const vitral_encoder*, const char*, uint8_t*) = vitral_read_image;
vitral_status (*const decode_image)(const vitral_encoder*, const void*, size_t,
                                    uint8_t*) = vitral_decode_image;
vitral_status (*const embed_pixels)(const vitral_encoder*, const uint8_t*, int64_t, float*, float*,
                                    float*) = vitral_embed_pixels;
vitral_status (*const open_text_encoder)(const char*, const char*, const vitral_options*,
                                         vitral_text_encoder**) = vitral_open_text_encoder;
const char* (*const text_encoder_guessed)(const vitral_text_encoder*) = vitral_text_encoder_guessed;
void (*const close_text_encoder)(vitral_text_encoder*) = vitral_close_text_encoder;
int64_t (*const text_encoder_width)(const vitral_text_encoder*) = vitral_text_encoder_width;
vitral_status (*const embed_texts)(const vitral_text_encoder*, const char* const*, int64_t,
                                   float*) = vitral_embed_texts;

static int wrong = 0;

static void expect(const char* what, size_t is, size_t was) {
  if (is == was) return;
  fprintf(stderr, "%s is %zu, was %zu in libvitral.so.0 so far\n", what, is, was);
  wrong = 1;
}

int main(void) {
  expect("VITRAL_OK", VITRAL_OK, 0);
  expect("VITRAL_FAILED", VITRAL_FAILED, 1);
  expect("VITRAL_BAD_REQUEST", VITRAL_BAD_REQUEST, 2);
  expect("VITRAL_OUT_OF_MEMORY", VITRAL_OUT_OF_MEMORY, 3);
  expect("VITRAL_INTERNAL", VITRAL_INTERNAL, 4);
  expect("the size of vitral_status", sizeof(vitral_status), 4);
  expect("the place of vitral_options.size", offsetof(vitral_options, size), 0);
  expect("the place of vitral_options.device", offsetof(vitral_options, device), 8);
  expect("the place of vitral_options.threads", offsetof(vitral_options, threads), 16);
  expect("the place of vitral_options.temperature", offsetof(vitral_options, temperature), 24);
  expect("the place of vitral_options.heads", offsetof(vitral_options, heads), 32);
  expect("the place of vitral_options.activation", offsetof(vitral_options, activation), 40);
  return wrong;
}
