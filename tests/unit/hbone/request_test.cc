// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "hbone/request.h"

#include <gtest/gtest.h>
#include <string>

namespace isthmus::hbone {
namespace {

using packet::Endpoint;
using packet::IpAddress;

TEST(Request, AuthorityIsMadeWithBracketsForIpv6) {
  EXPECT_EQ(make_authority({*IpAddress::parse("10.0.0.1"), 80}).view(), "10.0.0.1:80");
  for (const char* address : {"fd00::1", "::", "::1", "1::", "fd00:1:2:3:4:5:6:7", "1:0:2::3:0:4",
                              "1:0:2:3:4:5:6:7", "2001:db8::ff00:42:8329"}) {
    const IpAddress parsed = *IpAddress::parse(address);
    std::string expected = "[";
    expected.append(parsed.to_string()).append("]:80");
    EXPECT_EQ(make_authority({parsed, 80}).view(), expected);
  }
}

TEST(Request, BaggageAsTheProfileHasIt) {
  const Baggage baggage = {.cluster = "Kubernetes",
                           .namespace_name = "default",
                           .workload_type = "deployment",
                           .workload_name = "sleep",
                           .service_name = "sleep",
                           .service_version = "",
                           .region = "r1",
                           .zone = "z1"};
  Text<kMaxBaggage> text;
  ASSERT_TRUE(make_baggage(baggage, Profile::istio_1_18, text));
  EXPECT_EQ(text.view(),
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=sleep,"
            "service.name=sleep,service.version=");
  ASSERT_TRUE(make_baggage(baggage, Profile::head, text));
  EXPECT_EQ(text.view(),
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=sleep,"
            "service.name=sleep,cloud.region=r1,cloud.availability_zone=z1");
  const std::string long_name(kMaxBaggage, 'x');
  EXPECT_FALSE(make_baggage({.cluster = long_name}, Profile::head, text));
  EXPECT_TRUE(text.empty()) << "cut nowhere";
}

TEST(Request, BaggageValuesArePercentEncoded) {
  Text<kMaxBaggage> text;
  ASSERT_TRUE(
      make_baggage({.workload_type = "pod", .workload_name = "a,b;c%"}, Profile::head, text));
  EXPECT_EQ(text.view(), "k8s.pod.name=a%2Cb%3Bc%25");
}

TEST(Request, ForwardedAsTheProfileHasIt) {
  const Endpoint v4{*IpAddress::parse("10.0.0.1"), 4711};
  const Endpoint v6{*IpAddress::parse("fd00::1"), 4711};
  Text<kMaxForwarded> text;
  ASSERT_TRUE(make_forwarded(v4, "", Profile::istio_1_18, text));
  EXPECT_EQ(text.view(), "for=10.0.0.1");
  ASSERT_TRUE(make_forwarded(v6, "", Profile::istio_1_18, text));
  EXPECT_EQ(text.view(), "for=\"[fd00::1]\"");
  ASSERT_TRUE(make_forwarded(v4, "web.app.svc", Profile::head, text));
  EXPECT_EQ(text.view(), "for=\"10.0.0.1:4711\";host=web.app.svc");
}

TEST(Request, TraceParentIsW3CVersionZero) {
  EXPECT_EQ(make_traceparent(0x0123456789abcdef, 1, 0xff).view(),
            "00-0123456789abcdef0000000000000001-00000000000000ff-00");
}

}  // namespace
}  // namespace isthmus::hbone
