#include "capi/vitral.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/memory.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "models/pretrained/text_encoder.h"
#include "models/student/encoder.h"

using namespace vitral;

struct vitral_encoder {
  models::Encoder model;
  int threads;
};

struct vitral_text_encoder {
  models::TextEncoder model;
  int threads;
};

namespace {

constexpr std::int64_t at_once = 64;  // images or texts that are computed together, and held in memory

// Memory of its own: an error must find its place where there is none left.
thread_local std::array<char, 4096> last_error{};

vitral_status fail(vitral_status status, std::string_view what) noexcept {
  const std::size_t size = std::min(what.size(), last_error.size() - 1);
  std::copy_n(what.data(), size, last_error.data());
  last_error[size] = '\0';
  return status;
}

vitral_status fail(vitral_status status, const std::exception& e) noexcept {
  try {
    return fail(status, one_line(e.what()));
  } catch (const std::bad_alloc&) {
    return fail(status, e.what());
  }
}

// A function of the interface, by its name.
class Call {
 public:
  explicit Call(const char* function) : function_(function) {}

  /// What f() throws, as a status: no exception crosses the interface.
  template <class F>
  vitral_status run(F&& f) const noexcept {
    try {
      f();
      return VITRAL_OK;
    } catch (const UsageError& e) {
      return fail(VITRAL_BAD_REQUEST, e);
    } catch (const MemoryError& e) {
      return fail(VITRAL_OUT_OF_MEMORY, e);
    } catch (const Error& e) {
      return fail(VITRAL_FAILED, e);
    } catch (const std::bad_alloc&) {
      return fail(VITRAL_OUT_OF_MEMORY, "out of memory");
    } catch (const std::system_error& e) {
      if (e.code() != std::errc::resource_unavailable_try_again) return fail(VITRAL_INTERNAL, e);
      return fail(VITRAL_FAILED,
                  "a thread cannot be started; allow more threads and memory (ulimit -u, ulimit -v), or set "
                  "options.threads lower");
    } catch (const std::exception& e) {
      return fail(VITRAL_INTERNAL, e);
    } catch (...) {
      return fail(VITRAL_INTERNAL, "an exception of unknown kind");
    }
  }

  void require(const void* pointer, const char* what) const {
    VITRAL_CHECK(pointer, "{}: {} is NULL; give one", function_, what);
  }
  void require_some(std::int64_t count) const {
    VITRAL_CHECK(count >= 1, "{}: count must be at least 1, not {}", function_, count);
  }
  /// The options that the caller knows of; the others, and those that are 0, have their defaults.
  vitral_options known(const vitral_options* given) const {
    vitral_options out{};
    if (given) {
      const std::size_t size = given->size;
      VITRAL_CHECK(size >= sizeof size, "{}: options.size is {}; set it to sizeof(vitral_options)", function_,
                   size);
      std::memcpy(&out, given, std::min(size, sizeof out));
      const auto* bytes = reinterpret_cast<const unsigned char*>(given);
      VITRAL_CHECK(
          size <= sizeof out || std::all_of(bytes + sizeof out, bytes + size, [](auto b) { return b == 0; }),
          "{}: options has members that libvitral {} does not know; install a newer one, or leave them 0",
          function_, vitral_version());
    }
    VITRAL_CHECK(out.threads >= 0 && out.threads <= most_threads,
                 "{}: options.threads must be an integer from 0 to {}, not {}", function_, most_threads,
                 out.threads);
    VITRAL_CHECK(out.temperature == 0 || (out.temperature >= 1e-30 && std::isfinite(out.temperature)),
                 "{}: options.temperature must be 0 or a number >= 1e-30, not {}", function_,
                 out.temperature);
    VITRAL_CHECK(out.heads >= 0, "{}: options.heads must be 0 or more, not {}", function_, out.heads);
    const std::vector<std::string>& known = models::TowerChoices::activations();
    VITRAL_CHECK(!out.activation || std::ranges::find(known, out.activation) != known.end(),
                 "{}: options.activation is '{}'; it must be one of {}, or NULL", function_,
                 shown(out.activation), fmt::join(known, ", "));
    if (!out.device) out.device = "auto";
    if (out.temperature == 0) out.temperature = 1;
    return out;
  }

 private:
  const char* function_;
};

// Rows of images, one after the other in memory, where they are.
Tensor over(const std::uint8_t* pixels, const Shape& shape) {
  // Nobody writes to it.
  return Tensor::over(const_cast<std::uint8_t*>(pixels), shape, DType::uint8, nullptr);
}

void copy_rows(float* to, std::int64_t first, const Tensor& rows) {
  if (to) std::memcpy(to + first * (rows.numel() / rows.dim(0)), rows.raw(), rows.bytes());
}

void write_prepared(const vitral_encoder& encoder, const Tensor& image, std::uint8_t* pixels) {
  const Tensor prepared = data::validation_transform(image, encoder.model.config().image_size);
  std::memcpy(pixels, prepared.raw(), prepared.bytes());
}

// *encoder of what load(options, device) gives.
template <class Handle, class Load>
vitral_status open(const Call& call, const char* path, const vitral_options* options, Handle** encoder,
                   const Load& load) {
  return call.run([&] {
    call.require(path, "path");
    call.require(encoder, "encoder");
    const vitral_options o = call.known(options);
    const CpuThreads threads(o.threads);
    try_threads(cpu_threads());
    *encoder = new Handle{load(o, parse_device(o.device)), o.threads};
  });
}

}  // namespace

const char* vitral_version() { return VITRAL_VERSION; }
const char* vitral_last_error() { return last_error.data(); }

vitral_status vitral_open_encoder(const char* path, const vitral_options* options, vitral_encoder** encoder) {
  return open(Call(__func__), path, options, encoder, [&](const vitral_options& o, Device device) {
    return models::Encoder::load(path, device, {}, o.temperature);
  });
}

void vitral_close_encoder(vitral_encoder* encoder) { delete encoder; }

std::int64_t vitral_encoder_image_size(const vitral_encoder* encoder) {
  return encoder ? encoder->model.config().image_size : 0;
}
std::int64_t vitral_encoder_patches(const vitral_encoder* encoder) {
  return encoder ? encoder->model.config().tokens() : 0;
}
std::int64_t vitral_encoder_width(const vitral_encoder* encoder) {
  return encoder ? encoder->model.config().width : 0;
}

vitral_status vitral_read_image(const vitral_encoder* encoder, const char* path, std::uint8_t* pixels) {
  const Call call(__func__);
  return call.run([&] {
    call.require(encoder, "encoder");
    call.require(path, "path");
    call.require(pixels, "pixels");
    write_prepared(*encoder, data::read_image(path), pixels);
  });
}

vitral_status vitral_decode_image(const vitral_encoder* encoder, const void* bytes, std::size_t size,
                                  std::uint8_t* pixels) {
  const Call call(__func__);
  return call.run([&] {
    call.require(encoder, "encoder");
    call.require(bytes, "bytes");
    call.require(pixels, "pixels");
    write_prepared(*encoder, data::decode_image({static_cast<const std::uint8_t*>(bytes), size}, "the image"),
                   pixels);
  });
}

vitral_status vitral_embed_pixels(const vitral_encoder* encoder, const std::uint8_t* pixels,
                                  std::int64_t count, float* embeddings, float* probs, float* patches) {
  const Call call(__func__);
  return call.run([&] {
    call.require(encoder, "encoder");
    call.require(pixels, "pixels");
    call.require_some(count);
    const CpuThreads threads(encoder->threads);
    const std::int64_t side = encoder->model.config().image_size, bytes = side * side * 3;
    for (std::int64_t first = 0; first < count; first += at_once) {
      const std::int64_t some = std::min(at_once, count - first);
      const models::ImageEmbeddings e =
          encoder->model.embed(over(pixels + first * bytes, {some, side, side, 3}), at_once);
      copy_rows(embeddings, first, e.embeddings);
      copy_rows(probs, first, e.probs);
      copy_rows(patches, first, e.patches);
    }
  });
}

vitral_status vitral_open_text_encoder(const char* path, const char* vocabulary,
                                       const vitral_options* options, vitral_text_encoder** encoder) {
  return open(Call(__func__), path, options, encoder, [&](const vitral_options& o, Device device) {
    return models::TextEncoder::load(path, vocabulary ? vocabulary : "", device,
                                     {o.heads, o.activation ? o.activation : ""});
  });
}

void vitral_close_text_encoder(vitral_text_encoder* encoder) { delete encoder; }

const char* vitral_text_encoder_guessed(const vitral_text_encoder* encoder) {
  return encoder ? encoder->model.guessed().c_str() : "";
}

std::int64_t vitral_text_encoder_width(const vitral_text_encoder* encoder) {
  return encoder ? encoder->model.config().embedding : 0;
}

vitral_status vitral_embed_texts(const vitral_text_encoder* encoder, const char* const* texts,
                                 std::int64_t count, float* embeddings) {
  const Call call(__func__);
  return call.run([&] {
    call.require(encoder, "encoder");
    call.require(texts, "texts");
    call.require(embeddings, "embeddings");
    call.require_some(count);
    const CpuThreads threads(encoder->threads);
    for (std::int64_t first = 0; first < count; first += at_once) {
      std::vector<std::string> some;
      for (std::int64_t i = first; i < std::min(first + at_once, count); ++i) {
        VITRAL_CHECK(texts[i], "vitral_embed_texts: texts[{}] is NULL; give one", i);
        some.emplace_back(texts[i]);
      }
      copy_rows(embeddings, first, encoder->model.embed(some, at_once));
    }
  });
}
