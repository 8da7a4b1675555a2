#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <jpeglib.h>
// After jpeglib.h, which needs FILE from <cstdio>.
#include <jerror.h>
#include <turbojpeg.h>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

constexpr int exif_marker = JPEG_APP0 + 1;
constexpr int max_scans = 500;  // a progressive file of many scans of nothing would take for ever

int multiply_255(int a, int b) {  // a * b / 255, rounded
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// The divisor of its size at which a JPEG is decoded; for these libjpeg-turbo has SIMD code.
unsigned int scale_for(std::int64_t shorter_side, std::int64_t min_side) {
  for (const int part : {8, 4, 2})
    if (min_side > 0 && (shorter_side + part - 1) / part >= min_side) return static_cast<unsigned int>(part);
  return 1;
}

// libjpeg reports by these functions; a failure jumps back into guarded().
struct Errors : jpeg_error_mgr {
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message;
  bool in_header;            // no scan has begun
  bool ended_early;          // the file, before its end mark
  Bytes scans;               // the file from its first scan on
  std::int64_t passed_over;  // bytes in there
};

Errors& errors_of(j_common_ptr decoder) { return *static_cast<Errors*>(decoder->err); }

[[noreturn]] void fail(j_common_ptr decoder) {
  Errors& errors = errors_of(decoder);
  // What is wrong with a file that was cut off is its end, not the code that it was cut in.
  if (errors.ended_early && errors.msg_code == JWRN_HIT_MARKER) errors.msg_code = JWRN_JPEG_EOF;
  errors.format_message(decoder, errors.message.data());
  std::longjmp(errors.jump, 1);
}

// The zero bytes before markers and behind the last one: some encoders align scans with them.
std::int64_t padding_of(Bytes scans) {
  std::int64_t padding = 0, zeros = 0;
  for (std::size_t i = 0; i < scans.size(); ++i) {
    if (scans[i] == 0xFF && i + 1 < scans.size()) {
      if (scans[++i] != 0) padding += zeros;  // FF 00 is data
      zeros = 0;
    } else {
      zeros = scans[i] == 0 ? zeros + 1 : 0;
    }
  }
  return padding + zeros;
}

// Of bytes between two markers that libjpeg passes over. Between the segments of the header they are of no
// account. Those of the scans are reported late, as a number: where they are more than can be padding, a code
// has lost its place.
bool is_padding(Errors& errors) {
  if (errors.in_header) return true;
  errors.passed_over += errors.msg_parm.i[0];
  return errors.passed_over <= padding_of(errors.scans);
}

// Whether the pixels are whole in spite of a warning.
bool is_harmless(j_common_ptr decoder) {
  Errors& errors = errors_of(decoder);
  switch (errors.msg_code) {
    case JWRN_ADOBE_XFORM:     // unknown colour transform: YCbCr
    case JWRN_JFIF_MAJOR:      // unknown version of JFIF
    case JWRN_NOT_SEQUENTIAL:  // a baseline scan that names its coefficients oddly; they are always all
      return true;
    case JWRN_JPEG_EOF:  // JWRN_HIT_MARKER follows where codes are missing; of missing scans see
                         // is_complete()
      errors.ended_early = true;
      return true;
    case JWRN_EXTRANEOUS_DATA:
      return is_padding(errors);
    default:
      return false;
  }
}

void on_message(j_common_ptr decoder, int level) {
  if (level < 0 && !is_harmless(decoder)) fail(decoder);  // others are traces
}

void on_progress(j_common_ptr decoder) {
  Errors& errors = errors_of(decoder);
  if (reinterpret_cast<j_decompress_ptr>(decoder)->input_scan_number <= max_scans) return;
  std::snprintf(errors.message.data(), errors.message.size(), "Progressive JPEG image has more than %d scans",
                max_scans);
  std::longjmp(errors.jump, 1);
}

class JpegDecoder {
 public:
  JpegDecoder() {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = fail;
    errors_.emit_message = on_message;
    progress_.progress_monitor = on_progress;
    const bool started = guarded([&] {
      jpeg_create_decompress(&jpeg_);
      jpeg_save_markers(&jpeg_, exif_marker, 0xFFFF);
    });
    if (!started) throw_error("jpeg: libjpeg-turbo cannot start: {}", errors_.message.data());
    jpeg_.progress = &progress_;
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&jpeg_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  Decoded decode(Bytes bytes, const std::string& name, std::int64_t min_side) {
    jpeg_abort_decompress(&jpeg_);  // of an image that failed
    errors_.in_header = true;
    errors_.ended_early = false;
    errors_.passed_over = 0;
    const auto run = [&](auto&& work) {
      if (!guarded(work)) throw_error("{}: corrupt JPEG: {}", name, errors_.message.data());
    };
    run([&] {
      jpeg_mem_src(&jpeg_, bytes.data(), static_cast<unsigned long>(bytes.size()));
      jpeg_read_header(&jpeg_, TRUE);
    });
    errors_.in_header = false;
    errors_.scans = bytes.last(jpeg_.src->bytes_in_buffer);
    // Huffman codes spend at least one bit on an 8 x 8 block, and a sample stands for at most 4 x 4 pixels of
    // which one direction is at full resolution in some component: at most 2,048 pixels a byte.
    check_image_size(name, "JPEG", jpeg_.image_width, jpeg_.image_height,
                     std::max<std::int64_t>(1 << 20, static_cast<std::int64_t>(bytes.size()) * 2048));
    const bool cmyk = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
    jpeg_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_.dct_method = JDCT_ISLOW;
    jpeg_.scale_num = 1;
    jpeg_.scale_denom = scale_for(std::min(jpeg_.image_width, jpeg_.image_height), min_side);
    run([&] {
      jpeg_start_decompress(&jpeg_);
      if (errors_.ended_early && !has_all_scans()) {
        errors_.msg_code = JWRN_JPEG_EOF;
        fail(reinterpret_cast<j_common_ptr>(&jpeg_));
      }
    });
    const std::int64_t height = jpeg_.output_height, width = jpeg_.output_width;
    Decoded out{Tensor({height, width, 3}, DType::uint8), orientation()};
    std::vector<std::uint8_t> inks(cmyk ? static_cast<std::size_t>(height * width * 4) : 0);
    std::uint8_t* pixels = cmyk ? inks.data() : out.pixels.data<std::uint8_t>();
    run([&] {
      while (jpeg_.output_scanline < jpeg_.output_height) {
        JSAMPROW row = pixels + jpeg_.output_scanline * static_cast<std::size_t>(width * (cmyk ? 4 : 3));
        jpeg_read_scanlines(&jpeg_, &row, 1);
      }
      jpeg_finish_decompress(&jpeg_);
    });
    // Files hold inverted CMYK (Adobe's convention, which Pillow takes for granted).
    if (cmyk) cmyk_to_rgb(out.pixels.data<std::uint8_t>(), inks.data(), height * width);
    return out;
  }

 private:
  // Nothing that work() makes may need a destructor: a failure jumps over it.
  template <class Work>
  bool guarded(Work&& work) {
    if (setjmp(errors_.jump)) return false;  // NOLINT(cert-err52-cpp): libjpeg is C
    work();
    return true;
  }

  // Of a file that ends early and whose scans are read before the first row: a progressive one knows how
  // many bits of each coefficient are missing.
  bool has_all_scans() {
    if (!jpeg_has_multiple_scans(&jpeg_)) return true;
    if (!jpeg_.coef_bits) return false;
    const int* bits = &jpeg_.coef_bits[0][0];
    return std::all_of(bits, bits + std::ptrdiff_t{jpeg_.num_components} * DCTSIZE2,
                       [](int missing) { return missing == 0; });
  }

  int orientation() const {
    for (const jpeg_marker_struct* m = jpeg_.marker_list; m; m = m->next)
      if (m->data_length >= 6 && std::memcmp(m->data, "Exif\0", 6) == 0)
        return exif_orientation({m->data, m->data_length});
    return 1;
  }

  jpeg_decompress_struct jpeg_{};
  Errors errors_{};
  jpeg_progress_mgr progress_{};
};

// The encoder is TurboJPEG's. One of each a thread: creating them costs as much as decoding a thumbnail.
struct Destroy {
  void operator()(void* handle) const { tjDestroy(handle); }
};
thread_local std::unique_ptr<JpegDecoder> decoder;
thread_local std::unique_ptr<void, Destroy> encoder;

}  // namespace

void cmyk_to_rgb(std::uint8_t* rgb, const std::uint8_t* ink, std::int64_t pixels) {
  for (std::int64_t i = 0; i < pixels; ++i, rgb += 3, ink += 4) {
    const int white = ink[3];
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<std::uint8_t>(std::clamp(white - multiply_255(255 - ink[c], white), 0, 255));
  }
}

bool is_jpeg(Bytes bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

Decoded decode_jpeg(Bytes bytes, const std::string& name, std::int64_t min_side) {
  if (!decoder) decoder = std::make_unique<JpegDecoder>();
  return decoder->decode(bytes, name, min_side);
}

std::vector<std::uint8_t> encode_jpeg(const Tensor& image, int quality) {
  check_image("encode_jpeg", image);
  VITRAL_CHECK(quality >= 1 && quality <= 100, "encode_jpeg: quality {} must be 1..100", quality);
  VITRAL_CHECK(image.dim(0) <= 65500 && image.dim(1) <= 65500,
               "encode_jpeg: {} is larger than the 65500 pixels a side that JPEG holds", image.shape());
  if (!encoder) encoder.reset(tjInitCompress());
  if (!encoder) throw_error("jpeg: libjpeg-turbo cannot start: {}", tjGetErrorStr2(nullptr));
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int failed = tjCompress2(encoder.get(), image.data<std::uint8_t>(), static_cast<int>(image.dim(1)), 0,
                                 static_cast<int>(image.dim(0)), TJPF_RGB, &data, &size, TJSAMP_420, quality,
                                 TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(data, tjFree);
  if (failed) throw_error("encode_jpeg: {}", tjGetErrorStr2(encoder.get()));
  return {data, data + size};
}

}  // namespace vitral::data
